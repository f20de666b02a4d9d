-- Times are subtracted as whole microseconds: as seconds they would be doubles, which are slower, and inexact.
WITH sessions AS (
    SELECT
        submitted_at,
        status,
        CASE WHEN status = 'fulfilled' THEN epoch_us(resolved_at) - epoch_us(coalesce(initiated_at, submitted_at)) END AS latency,
        greatest(submitted_at, last_polled_at, resolved_at) AS latest_at
    FROM purchases
),
days AS (
    SELECT
        utc_day(submitted_at) AS submitted_date,
        count(*) AS submitted,
        count(*) FILTER (status = 'fulfilled') AS fulfilled,
        count(*) FILTER (status = 'failed') AS failed,
        count(*) FILTER (status = 'pending') AS pending,
        count(*) FILTER (status = 'expired') AS expired,
        quantile_cont(latency, [0.5, 0.9, 0.99]) AS latencies,
        max(latest_at) AS latest_at
    FROM sessions
    GROUP BY submitted_date
)
SELECT
    submitted_date,
    submitted,
    fulfilled,
    failed,
    pending,
    expired,
    submitted_date + 2 <= (max(latest_at) OVER ())::TIMESTAMP AS is_mature,
    failed / nullif(failed + fulfilled, 0) AS failed_rate,
    wilson_low(failed, failed + fulfilled) AS failed_rate_low,
    wilson_high(failed, failed + fulfilled) AS failed_rate_high,
    latencies[1] / 1e6 AS latency_p50_seconds,
    latencies[2] / 1e6 AS latency_p90_seconds,
    latencies[3] / 1e6 AS latency_p99_seconds
FROM days
ORDER BY submitted_date
