-- The day's sessions in one row, so that marts about days need not read the sessions of the whole history.
-- Times are subtracted as whole microseconds: as seconds they would be doubles, which are slower, and inexact.
WITH sessions AS (
    SELECT
        submitted_at,
        status,
        CASE WHEN status = 'fulfilled' THEN epoch_us(resolved_at) - epoch_us(started_at(initiated_at, submitted_at)) END AS latency_us,
        greatest(
            CASE WHEN NOT is_future(submitted_at) THEN submitted_at END,
            CASE WHEN NOT is_future(last_polled_at) THEN last_polled_at END,
            CASE WHEN NOT is_future(resolved_at) THEN resolved_at END
        ) AS latest_at
    FROM purchases
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
    latest_at
FROM days
