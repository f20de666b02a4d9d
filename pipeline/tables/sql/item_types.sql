WITH typed AS (
    SELECT
        *,
        coalesce(item_type, 'unknown') AS type,
        row_number() OVER (
            PARTITION BY coalesce(item_type, 'unknown') ORDER BY buyback_price_usd DESC NULLS LAST
        ) AS price_rank,
        count(buyback_price_usd) OVER (PARTITION BY coalesce(item_type, 'unknown')) AS priced
    FROM pulls
)
SELECT
    type AS item_type,
    count(*) AS pull_count,
    count(*) / sum(count(*)) OVER () AS pull_share,
    count(DISTINCT item_id) AS item_count,
    avg(is_on_chain::INTEGER) AS on_chain_share,
    count(buyback_price_usd) AS priced_pull_count,
    total(buyback_price_usd) AS buyback_total_usd,
    mean(buyback_price_usd) AS buyback_mean_usd,
    min(buyback_price_usd) AS buyback_min_usd,
    percentile(buyback_price_usd, 0.05) AS buyback_p5_usd,
    percentile(buyback_price_usd, 0.25) AS buyback_p25_usd,
    percentile(buyback_price_usd, 0.5) AS buyback_median_usd,
    percentile(buyback_price_usd, 0.75) AS buyback_p75_usd,
    percentile(buyback_price_usd, 0.95) AS buyback_p95_usd,
    percentile(buyback_price_usd, 0.99) AS buyback_p99_usd,
    max(buyback_price_usd) AS buyback_max_usd,
    -- The dearest 1 % are at least one pull.
    sum(buyback_price_usd) FILTER (price_rank <= ceil(priced / 100)) / nullif(sum(buyback_price_usd), 0)
        AS top_1_percent_share
FROM typed
GROUP BY type
ORDER BY type
