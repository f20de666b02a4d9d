WITH latest AS (
    SELECT
        max(latest_at) AS as_of,
        -- Computed once: computing them for each pull would dominate the query.
        as_of - to_days(1) AS a_day_ago,
        as_of - to_days(3) AS days_3_ago,
        as_of - to_days(7) AS days_7_ago,
        as_of - to_days(30) AS days_30_ago
    FROM submission_days
),
-- One day, and the documented buyback periods: three days for sealed packs, seven days from the inventory.
windows (window_days) AS (VALUES (1), (3), (7), (30)),
-- Assigns each pull to its shortest window, so that pulls are read once; equal quotes, of which there are many, share
-- a row.
by_quote AS (
    SELECT
        CASE
            WHEN resolved_at > a_day_ago THEN 1
            WHEN resolved_at > days_3_ago THEN 3
            WHEN resolved_at > days_7_ago THEN 7
            ELSE 30
        END AS shortest_days,
        buyback_price_usd,
        count(*) FILTER (pull_number = 1) AS sessions,
        count(*) AS pulls
    FROM pulls CROSS JOIN latest
    WHERE resolved_at > days_30_ago
    GROUP BY shortest_days, buyback_price_usd
),
sold_by_window AS (
    SELECT
        window_days,
        count(*) AS sold_back_count,
        total(buyback_price_usd) AS sold_back_quoted_usd,
        total(amount_usd) AS sold_back_usd
    FROM sellbacks CROSS JOIN latest JOIN windows ON resolved_at > as_of - to_days(window_days)
    WHERE resolved_at > days_30_ago
    GROUP BY window_days
),
records AS (
    -- A recorded sale later than the reading of its record says nothing about the time in between.
    SELECT max(least(sold_at, submitted_at)) FILTER (NOT is_future(submitted_at)) AS sellbacks_until FROM sellbacks
),
ranked AS (
    SELECT
        *,
        sum(pulls) OVER (
            PARTITION BY window_days ORDER BY buyback_price_usd DESC NULLS LAST ROWS UNBOUNDED PRECEDING
        )::BIGINT - pulls AS higher_count
    FROM windows JOIN by_quote ON shortest_days <= window_days
),
by_window AS (
    SELECT
        window_days,
        sum(sessions)::BIGINT AS session_count,
        sum(pulls)::BIGINT AS pull_count,
        sum(pulls) FILTER (buyback_price_usd IS NOT NULL)::BIGINT AS priced_pull_count,
        total_of(buyback_price_usd, pulls) AS buyback_total_usd,
        top_sum(buyback_price_usd, pulls, higher_count, 10) / nullif(sum_of(buyback_price_usd, pulls), 0) AS top_10_share
    FROM ranked
    GROUP BY window_days
)
SELECT
    window_days,
    as_of,
    coalesce(session_count, 0) AS session_count,
    coalesce(pull_count, 0) AS pull_count,
    coalesce(priced_pull_count, 0) AS priced_pull_count,
    buyback_total_usd,
    top_10_share,
    CASE WHEN sellbacks_until IS NOT NULL THEN coalesce(sold_back_count, 0) END AS sold_back_count,
    CASE WHEN sellbacks_until IS NOT NULL THEN coalesce(sold_back_quoted_usd, 0) END AS sold_back_quoted_usd,
    CASE WHEN sellbacks_until IS NOT NULL THEN coalesce(sold_back_usd, 0) END AS sold_back_usd,
    CASE WHEN sellbacks_until IS NOT NULL THEN
        (buyback_total_usd - coalesce(sold_back_quoted_usd, 0))::DECIMAL(18,4) END AS outstanding_usd,
    sellbacks_until
FROM windows
JOIN latest ON as_of IS NOT NULL
CROSS JOIN records
LEFT JOIN by_window USING (window_days)
LEFT JOIN sold_by_window USING (window_days)
ORDER BY window_days
