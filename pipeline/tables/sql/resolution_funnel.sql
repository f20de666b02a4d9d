SELECT
    submitted_date,
    submitted,
    fulfilled,
    failed,
    pending,
    expired,
    is_over(submitted_date + 1, max(latest_at) OVER ()) AS is_complete,
    submitted_date + 2 <= (max(latest_at) OVER ())::TIMESTAMP AS is_mature,
    failed / nullif(failed + fulfilled, 0) AS failed_rate,
    wilson_low(failed, failed + fulfilled) AS failed_rate_low,
    wilson_high(failed, failed + fulfilled) AS failed_rate_high,
    latency_p50_seconds,
    latency_p90_seconds,
    latency_p99_seconds
FROM submission_days
ORDER BY submitted_date
