-- The day's sessions in one row, so that marts about days need not read the sessions of the whole history.
-- Times are subtracted as whole microseconds: as seconds they would be doubles, which are slower, and inexact.
WITH sessions AS (
    SELECT
        submitted_at,
        status,
        -- Sessions of one user may resemble each other. Of a failed session only the submission can name the user: where one
        -- does not, those of the fulfilled ones, whom the answers name, would be no fair sample.
        CASE WHEN count(*) FILTER (status = 'failed' AND user_id IS NULL) OVER day = 0 THEN user_id END AS known_user,
        coalesce(known_user, session_id) AS buyer,
        CASE WHEN status = 'fulfilled' THEN epoch_us(resolved_at) - epoch_us(coalesce(initiated_at, submitted_at)) END AS latency_us,
        greatest(submitted_at, last_polled_at, resolved_at) AS latest_at
    FROM purchases
    WINDOW day AS (PARTITION BY utc_day(submitted_at))
),
days AS (
    SELECT
        utc_day(submitted_at) AS submitted_date,
        count(*) AS submitted,
        count(*) FILTER (status = 'pending') AS pending,
        count(*) FILTER (status = 'fulfilled') AS fulfilled,
        count(*) FILTER (status = 'failed') AS failed,
        count(*) FILTER (status = 'expired') AS expired,
        quantile_cont(latency_us, [0.5, 0.9, 0.99]) AS latencies_us,
        max(latest_at) AS latest_at
    FROM sessions
    GROUP BY submitted_date
),
buyers AS (
    SELECT submitted_date, session_sums(failed, settled) AS sums
    FROM (
        SELECT
            utc_day(submitted_at) AS submitted_date,
            buyer,
            count(*) FILTER (status = 'failed') AS failed,
            count(*) AS settled
        FROM sessions
        WHERE status IN ('failed', 'fulfilled')
        GROUP BY submitted_date, buyer
    )
    GROUP BY submitted_date
)
SELECT
    submitted_date,
    submitted,
    pending,
    fulfilled,
    failed,
    expired,
    latencies_us[1] / 1e6 AS latency_p50_seconds,
    latencies_us[2] / 1e6 AS latency_p90_seconds,
    latencies_us[3] / 1e6 AS latency_p99_seconds,
    latest_at,
    coalesce(sums.n, 0) AS buyers,
    coalesce(sums.m2, 0)::BIGINT AS buyer_settled_squared,
    coalesce(sums.y2, 0)::BIGINT AS buyer_failed_squared,
    coalesce(sums.ym, 0)::BIGINT AS buyer_failed_times_settled
FROM days LEFT JOIN buyers USING (submitted_date)
