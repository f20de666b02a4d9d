WITH days AS (
    SELECT
        pulled_date,
        item_type,
        sum(pull_count)::BIGINT AS pulls,
        coalesce(sum(pull_count) FILTER (buyback_price_usd IS NOT NULL), 0)::BIGINT AS priced_pull_count,
        total_of(buyback_price_usd, pull_count) AS buyback_total_usd,
        (sum(pull_count) - sum(on_chain_count)) / sum(pull_count) AS off_chain_share
    FROM daily_quote_counts
    GROUP BY pulled_date, item_type
)
SELECT
    pulled_date,
    item_type,
    pulls AS pull_count,
    pulls / sum(pulls) OVER day AS pull_share,
    priced_pull_count,
    buyback_total_usd,
    buyback_total_usd / nullif(sum(buyback_total_usd) OVER day, 0) AS buyback_share,
    off_chain_share,
    is_over(pulled_date + 1, (SELECT max(latest_at) FROM submission_days)) AS is_complete
FROM days
WINDOW day AS (PARTITION BY pulled_date)
ORDER BY pulled_date, item_type
