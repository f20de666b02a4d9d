-- The day's sessions in one row, so that marts by day do not read all sessions of the history.
-- Times are subtracted as whole microseconds; doubles of seconds would be slower and inexact.
WITH days_with_unknown_users AS (
    SELECT DISTINCT utc_day(submitted_at) AS day FROM purchases WHERE status = 'failed' AND user_id IS NULL
),
sessions AS (
    SELECT
        submitted_at,
        status,
        -- Sessions of one user may be correlated. Only the submission can name the user of a failed session. If one is
        -- missing, the users of the fulfilled sessions alone, known from answers, would be a biased sample.
        CASE WHEN unknown.day IS NULL THEN user_id END AS known_user,
        coalesce(known_user, session_id) AS buyer,
        -- Time until the final answer, or, if pending, until the last request (censored).
        epoch_us(coalesce(resolved_at, last_polled_at)) - epoch_us(started_at(initiated_at, submitted_at)) AS age_us,
        status = 'fulfilled' AND last_pending_at IS NULL AS is_final_at_once,
        greatest(
            CASE WHEN NOT is_future(submitted_at) THEN submitted_at END,
            CASE WHEN NOT is_future(last_polled_at) THEN last_polled_at END,
            CASE WHEN NOT is_future(resolved_at) THEN resolved_at END
        ) AS latest_at
    FROM purchases LEFT JOIN days_with_unknown_users AS unknown ON unknown.day = utc_day(submitted_at)
),
days AS (
    SELECT
        utc_day(submitted_at) AS submitted_date,
        count(*) AS submitted,
        count(*) FILTER (status = 'pending') AS pending,
        count(*) FILTER (status = 'fulfilled') AS fulfilled,
        count(*) FILTER (status = 'failed') AS failed,
        count(*) FILTER (status = 'expired') AS expired,
        count(*) FILTER (is_final_at_once) AS fulfilled_when_first_asked,
        max(age_us) AS followed_us,
        max(latest_at) AS latest_at
    FROM sessions
    GROUP BY submitted_date
),
-- Pending sessions are censored and failure is a competing risk: the share fulfilled by an age is the estimator of Aalen
-- and Johansen (1978). Percentiles refer to the sessions that do not fail.
ages AS (
    SELECT
        utc_day(submitted_at) AS submitted_date,
        age_us,
        count(*) FILTER (status = 'fulfilled') AS fulfilled,
        count(*) FILTER (status = 'failed') AS failed,
        sum(count(*)) OVER (PARTITION BY utc_day(submitted_at) ORDER BY age_us DESC) AS at_risk
    FROM sessions
    WHERE age_us IS NOT NULL
    GROUP BY submitted_date, age_us
),
survivors AS (
    SELECT
        *,
        -- If all sessions at risk become final, none is left for later ages.
        exp(coalesce(sum(CASE WHEN fulfilled + failed < at_risk THEN ln(1 - (fulfilled + failed) / at_risk) END) OVER (
            PARTITION BY submitted_date ORDER BY age_us ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)) AS surviving
    FROM ages
    WHERE fulfilled + failed > 0
),
incidences AS (
    SELECT
        submitted_date,
        age_us,
        sum(surviving * fulfilled / at_risk) OVER (PARTITION BY submitted_date ORDER BY age_us ROWS UNBOUNDED PRECEDING)
            AS fulfilled_share,
        1 - sum(surviving * failed / at_risk) OVER (PARTITION BY submitted_date) AS unfailing_share
    FROM survivors
),
latencies AS (
    SELECT
        submitted_date,
        -- The tolerance keeps a sum that equals the percentile's share from missing it by rounding.
        min(age_us) FILTER (fulfilled_share >= 0.5 * unfailing_share - 1e-12) / 1e6 AS latency_p50_seconds,
        min(age_us) FILTER (fulfilled_share >= 0.9 * unfailing_share - 1e-12) / 1e6 AS latency_p90_seconds,
        min(age_us) FILTER (fulfilled_share >= 0.99 * unfailing_share - 1e-12) / 1e6 AS latency_p99_seconds
    FROM incidences
    WHERE fulfilled_share > 0
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
    latency_p50_seconds,
    latency_p90_seconds,
    latency_p99_seconds,
    followed_us / 1e6 AS latency_followed_seconds,
    fulfilled_when_first_asked,
    latest_at,
    coalesce(sums.n, 0) AS buyers,
    coalesce(sums.m2, 0)::BIGINT AS buyer_settled_squared,
    coalesce(sums.y2, 0)::BIGINT AS buyer_failed_squared,
    coalesce(sums.ym, 0)::BIGINT AS buyer_failed_times_settled
FROM days LEFT JOIN latencies USING (submitted_date) LEFT JOIN buyers USING (submitted_date)
