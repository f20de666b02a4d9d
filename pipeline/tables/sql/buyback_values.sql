WITH by_quote AS (
    SELECT pulled_date, pack_id, item_type, buyback_price_usd, sum(pull_count)::BIGINT AS pulls
    FROM quote_days
    GROUP BY pulled_date, pack_id, item_type, buyback_price_usd
),
ranked AS (
    SELECT
        *,
        sum(pulls) OVER (
            PARTITION BY pulled_date, pack_id, item_type ORDER BY buyback_price_usd NULLS LAST ROWS UNBOUNDED PRECEDING
        )::BIGINT AS up_to,
        sum(pulls) FILTER (buyback_price_usd IS NOT NULL) OVER (PARTITION BY pulled_date, pack_id, item_type)::BIGINT AS priced
    FROM by_quote
)
SELECT
    pulled_date,
    pack_id,
    item_type,
    sum(pulls)::BIGINT AS pull_count,
    coalesce(any_value(priced), 0) AS priced_pull_count,
    total_of(buyback_price_usd, pulls) AS buyback_total_usd,
    mean_of(buyback_price_usd, pulls) AS buyback_mean_usd,
    percentile(buyback_price_usd, up_to, priced, 0.5) AS buyback_median_usd,
    percentile(buyback_price_usd, up_to, priced, 0.25) AS buyback_p25_usd,
    percentile(buyback_price_usd, up_to, priced, 0.75) AS buyback_p75_usd,
    percentile(buyback_price_usd, up_to, priced, 0.95) AS buyback_p95_usd,
    max(buyback_price_usd) AS buyback_max_usd,
    is_over(pulled_date + 1, (SELECT max(latest_at) FROM submission_days)) AS is_complete
FROM ranked
GROUP BY pulled_date, pack_id, item_type
ORDER BY pulled_date, pack_id NULLS FIRST, item_type
