SELECT
    submitted_date,
    submitted,
    fulfilled,
    failed,
    pending,
    expired,
    is_over(submitted_date + 1, max(latest_at) OVER ()) AS is_complete,
    coalesce(submitted_date + 2 <= (max(latest_at) OVER ())::TIMESTAMP, false) AND pending * 100 <= submitted AS is_mature,
    failed / nullif(failed + fulfilled, 0) AS failed_rate,
    clustered_low(failed_sums, design, t) AS failed_rate_low,
    clustered_high(failed_sums, design, t) AS failed_rate_high,
    failed / submitted AS failed_rate_at_least,
    (failed + pending + expired) / submitted AS failed_rate_at_most,
    latency_p50_seconds,
    latency_p90_seconds,
    latency_p99_seconds,
    latency_followed_seconds,
    fulfilled_when_first_asked
FROM (
    SELECT *, design_effect(failed_sums) AS design, t_975(buyers - 1) AS t
    FROM (
        SELECT
            *,
            {
                'n': buyers, 'm': failed + fulfilled, 'm2': buyer_settled_squared,
                'y': failed, 'y2': buyer_failed_squared, 'ym': buyer_failed_times_settled
            } AS failed_sums
        FROM submission_days
    )
)
ORDER BY submitted_date
