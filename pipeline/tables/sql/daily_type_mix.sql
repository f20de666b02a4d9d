WITH days AS (
    SELECT
        pulled_at::DATE AS pulled_date,
        coalesce(item_type, 'unknown') AS item_type,
        count(*) AS pull_count,
        count(buyback_price_usd) AS priced_pull_count,
        total(buyback_price_usd) AS buyback_total_usd,
        avg((NOT is_on_chain)::INTEGER) AS off_chain_share
    FROM pulls
    GROUP BY pulled_at::DATE, coalesce(item_type, 'unknown')
)
SELECT
    pulled_date,
    item_type,
    pull_count,
    pull_count / sum(pull_count) OVER day AS pull_share,
    priced_pull_count,
    buyback_total_usd,
    buyback_total_usd / nullif(sum(buyback_total_usd) OVER day, 0) AS buyback_share,
    off_chain_share
FROM days
WINDOW day AS (PARTITION BY pulled_date)
ORDER BY pulled_date, item_type
