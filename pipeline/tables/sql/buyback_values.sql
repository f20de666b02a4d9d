SELECT
    pulled_at::DATE AS pulled_date,
    pack_id,
    coalesce(item_type, 'unknown') AS item_type,
    count(*) AS pull_count,
    count(buyback_price_usd) AS priced_pull_count,
    total(buyback_price_usd) AS buyback_total_usd,
    mean(buyback_price_usd) AS buyback_mean_usd,
    percentile(buyback_price_usd, 0.5) AS buyback_median_usd,
    percentile(buyback_price_usd, 0.25) AS buyback_p25_usd,
    percentile(buyback_price_usd, 0.75) AS buyback_p75_usd,
    percentile(buyback_price_usd, 0.95) AS buyback_p95_usd,
    max(buyback_price_usd) AS buyback_max_usd
FROM pulls
GROUP BY pulled_at::DATE, pack_id, coalesce(item_type, 'unknown')
ORDER BY pulled_date, pack_id NULLS FIRST, item_type
