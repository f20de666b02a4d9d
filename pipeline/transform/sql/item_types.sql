WITH by_quote AS (
    SELECT item_type, buyback_price_usd, sum(pull_count)::BIGINT AS pulls, sum(on_chain_count)::BIGINT AS on_chain
    FROM daily_quote_counts
    GROUP BY item_type, buyback_price_usd
),
ranked AS (
    SELECT
        *,
        sum(pulls) OVER ascending::BIGINT AS up_to,
        sum(pulls) FILTER (buyback_price_usd IS NOT NULL) OVER type::BIGINT AS priced,
        sum_of(buyback_price_usd, pulls) OVER type AS total_usd,
        total_usd - sum_of(buyback_price_usd, pulls) OVER ascending AS higher_usd
    FROM by_quote
    WINDOW
        type AS (PARTITION BY item_type),
        ascending AS (PARTITION BY item_type ORDER BY buyback_price_usd NULLS LAST ROWS UNBOUNDED PRECEDING)
),
types AS (
    SELECT
        item_type,
        sum(pulls)::BIGINT AS pull_count,
        sum(on_chain) / sum(pulls) AS on_chain_share,
        coalesce(any_value(priced), 0) AS priced_pull_count,
        total_of(buyback_price_usd, pulls) AS buyback_total_usd,
        mean_of(buyback_price_usd, pulls) AS buyback_mean_usd,
        min(buyback_price_usd) AS buyback_min_usd,
        percentile(buyback_price_usd, up_to, priced, 0.05) AS buyback_p5_usd,
        percentile(buyback_price_usd, up_to, priced, 0.25) AS buyback_p25_usd,
        percentile(buyback_price_usd, up_to, priced, 0.5) AS buyback_median_usd,
        percentile(buyback_price_usd, up_to, priced, 0.75) AS buyback_p75_usd,
        percentile(buyback_price_usd, up_to, priced, 0.95) AS buyback_p95_usd,
        percentile(buyback_price_usd, up_to, priced, 0.99) AS buyback_p99_usd,
        max(buyback_price_usd) AS buyback_max_usd,
        -- The top 1 % is at least one pull.
        top_sum(buyback_price_usd, pulls, priced - up_to, ceil(priced / 100)) / nullif(sum_of(buyback_price_usd, pulls), 0)
            AS top_1_percent_share,
        count_to_half(buyback_price_usd, pulls, higher_usd, total_usd) AS half_of_total_pull_count
    FROM ranked
    GROUP BY item_type
),
multiples AS (
    SELECT
        item_type,
        pulls,
        multiple,
        sum(pulls) OVER (PARTITION BY item_type ORDER BY multiple ROWS UNBOUNDED PRECEDING)::BIGINT AS up_to,
        sum(pulls) OVER (PARTITION BY item_type)::BIGINT AS total_count
    FROM (
        SELECT item_type, multiple(buyback_price_usd, pulls_a_session, session_price_usd) AS multiple,
            sum(pull_count)::BIGINT AS pulls
        FROM daily_quote_counts
        WHERE buyback_price_usd IS NOT NULL AND session_price_usd > 0
        GROUP BY item_type, multiple
    )
),
medians AS (
    SELECT
        item_type,
        (min(multiple) FILTER (up_to >= (total_count + 1) // 2) + min(multiple) FILTER (up_to >= total_count // 2 + 1)) / 2
            AS multiple_median
    FROM multiples
    GROUP BY item_type
),
-- Items may be pulled under more than one type.
items_of_types AS (
    SELECT item_type, count(*) AS item_count
    FROM (SELECT DISTINCT item_id, unnest(item_types) AS item_type FROM item_days)
    GROUP BY item_type
)
SELECT
    types.item_type,
    pull_count,
    pull_count / sum(pull_count) OVER () AS pull_share,
    coalesce(item_count, 0) AS item_count,
    on_chain_share,
    priced_pull_count,
    buyback_total_usd,
    buyback_mean_usd,
    buyback_min_usd,
    buyback_p5_usd,
    buyback_p25_usd,
    buyback_median_usd,
    buyback_p75_usd,
    buyback_p95_usd,
    buyback_p99_usd,
    buyback_max_usd,
    top_1_percent_share,
    half_of_total_pull_count,
    multiple_median
FROM types LEFT JOIN medians ON medians.item_type = types.item_type
LEFT JOIN items_of_types ON items_of_types.item_type = types.item_type
ORDER BY types.item_type
