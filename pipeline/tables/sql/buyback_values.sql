WITH days AS (
    SELECT
        pulled_at::DATE AS pulled_date,
        pack_id,
        coalesce(item_type, 'unknown') AS item_type,
        count(*) AS pull_count,
        count(buyback_price_usd) AS priced_pull_count,
        total(buyback_price_usd) AS buyback_total_usd,
        mean(buyback_price_usd) AS buyback_mean_usd,
        percentiles(buyback_price_usd, [0.5, 0.25, 0.75, 0.95]) AS p,
        max(buyback_price_usd) AS buyback_max_usd
    FROM pulls
    GROUP BY pulled_at::DATE, pack_id, coalesce(item_type, 'unknown')
)
SELECT
    pulled_date,
    pack_id,
    item_type,
    pull_count,
    priced_pull_count,
    buyback_total_usd,
    buyback_mean_usd,
    p[1] AS buyback_median_usd,
    p[2] AS buyback_p25_usd,
    p[3] AS buyback_p75_usd,
    p[4] AS buyback_p95_usd,
    buyback_max_usd
FROM days
ORDER BY pulled_date, pack_id NULLS FIRST, item_type
