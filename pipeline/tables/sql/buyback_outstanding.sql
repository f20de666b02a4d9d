WITH latest AS (
    SELECT max(greatest(submitted_at, last_polled_at, resolved_at)) AS as_of FROM purchases
),
-- A day, and how long buyback is said to be open: three days for sealed packs, seven from the inventory.
windows (window_days) AS (VALUES (1), (3), (7), (30)),
-- Each pull belongs to the shortest window that holds it, and is passed over once.
by_shortest AS (
    SELECT
        CASE
            WHEN resolved_at > as_of - to_days(1) THEN 1
            WHEN resolved_at > as_of - to_days(3) THEN 3
            WHEN resolved_at > as_of - to_days(7) THEN 7
            ELSE 30
        END AS shortest_days,
        count(*) FILTER (pull_number = 1) AS session_count,
        count(*) AS pull_count,
        count(buyback_price_usd) AS priced_pull_count,
        sum(buyback_price_usd) AS buyback_total_usd,
        max(buyback_price_usd, 10) AS dearest
    FROM pulls CROSS JOIN latest
    WHERE resolved_at > as_of - to_days(30)
    GROUP BY shortest_days
),
by_window AS (
    SELECT
        window_days,
        sum(session_count)::BIGINT AS session_count,
        sum(pull_count)::BIGINT AS pull_count,
        sum(priced_pull_count)::BIGINT AS priced_pull_count,
        total(buyback_total_usd) AS buyback_total_usd,
        list_sum(list_sort(flatten(list(dearest)), 'DESC')[:10]) / nullif(sum(buyback_total_usd), 0) AS top_10_share
    FROM windows JOIN by_shortest ON shortest_days <= window_days
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
