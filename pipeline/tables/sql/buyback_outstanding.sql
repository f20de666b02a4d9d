WITH latest AS (
    SELECT max(greatest(submitted_at, last_polled_at, resolved_at)) AS as_of FROM purchases
),
-- A day, and how long buyback is said to be open: three days for sealed packs, seven from the inventory.
windows (window_days) AS (VALUES (1), (3), (7), (30)),
recent AS (
    SELECT window_days, pull_number, buyback_price_usd
    FROM pulls
    JOIN latest ON resolved_at > as_of - to_days(30)
    JOIN windows ON resolved_at > as_of - to_days(window_days)
),
by_window AS (
    SELECT
        window_days,
        count(*) FILTER (pull_number = 1) AS session_count,
        count(*) AS pull_count,
        count(buyback_price_usd) AS priced_pull_count,
        total(buyback_price_usd) AS buyback_total_usd,
        list_sum(max(buyback_price_usd, 10)) / nullif(sum(buyback_price_usd), 0) AS top_10_share
    FROM recent
    GROUP BY window_days
)
SELECT
    window_days,
    as_of,
    coalesce(session_count, 0) AS session_count,
    coalesce(pull_count, 0) AS pull_count,
    coalesce(priced_pull_count, 0) AS priced_pull_count,
    buyback_total_usd,
    top_10_share
FROM windows
JOIN latest ON as_of IS NOT NULL
LEFT JOIN by_window USING (window_days)
ORDER BY window_days
