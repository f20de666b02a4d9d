WITH typed AS (
    SELECT
        *,
        coalesce(item_type, 'unknown') AS type,
        row_number() OVER dearest AS price_rank,
        sum(buyback_price_usd) OVER dearest AS running_usd,
        count(buyback_price_usd) OVER type AS priced,
        sum(buyback_price_usd) OVER type AS total_usd
    FROM pulls
    WINDOW
        type AS (PARTITION BY coalesce(item_type, 'unknown')),
        dearest AS (
            PARTITION BY coalesce(item_type, 'unknown') ORDER BY buyback_price_usd DESC NULLS LAST
            ROWS UNBOUNDED PRECEDING
        )
),
types AS (
    SELECT
        type AS item_type,
        count(*) AS pull_count,
        count(DISTINCT item_id) AS item_count,
        avg(is_on_chain::INTEGER) AS on_chain_share,
        count(buyback_price_usd) AS priced_pull_count,
        total(buyback_price_usd) AS buyback_total_usd,
        mean(buyback_price_usd) AS buyback_mean_usd,
        min(buyback_price_usd) AS buyback_min_usd,
        percentiles(buyback_price_usd, [0.05, 0.25, 0.5, 0.75, 0.95, 0.99]) AS p,
        max(buyback_price_usd) AS buyback_max_usd,
        -- The dearest 1 % are at least one pull.
        sum(buyback_price_usd) FILTER (price_rank <= ceil(priced / 100)) / nullif(sum(buyback_price_usd), 0)
            AS top_1_percent_share,
        count_to_half(buyback_price_usd, running_usd, total_usd) AS half_of_total_pull_count
    FROM typed
    GROUP BY type
)
SELECT
    item_type,
    pull_count,
    pull_count / sum(pull_count) OVER () AS pull_share,
    item_count,
    on_chain_share,
    priced_pull_count,
    buyback_total_usd,
    buyback_mean_usd,
    buyback_min_usd,
    p[1] AS buyback_p5_usd,
    p[2] AS buyback_p25_usd,
    p[3] AS buyback_median_usd,
    p[4] AS buyback_p75_usd,
    p[5] AS buyback_p95_usd,
    p[6] AS buyback_p99_usd,
    buyback_max_usd,
    top_1_percent_share,
    half_of_total_pull_count
FROM types
ORDER BY item_type
