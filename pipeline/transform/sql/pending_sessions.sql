-- All sessions of the other parts are final or expired, so a long history has few candidates.
WITH candidates AS (
    SELECT DISTINCT session_id FROM session_submissions
    WHERE rejected_reason IS NULL AND is_chosen(submitted_at)
),
sessions AS (
    SELECT
        session_id,
        min(submitted_at) AS submitted_at,
        max(submitted_at) AS last_submitted_at,
        arg_min(initiated_at, (submitted_at, source_file, content_sha256, row_number)) AS initiated_at
    FROM session_submissions
    WHERE rejected_reason IS NULL AND session_id IN (FROM candidates)
    GROUP BY session_id
),
polls AS (
    SELECT
        session_id,
        count(*) AS poll_count,
        max(requested_at) AS last_polled_at,
        max(received_at) AS last_answered_at,
        bool_or(outcome IN ('fulfilled', 'failed')) AS is_final
    FROM status_responses
    WHERE session_id IN (FROM candidates)
    GROUP BY session_id
)
SELECT
    sessions.session_id,
    submitted_at,
    last_submitted_at,
    initiated_at,
    coalesce(poll_count, 0) AS poll_count,
    last_polled_at
FROM sessions LEFT JOIN polls USING (session_id)
WHERE is_final IS NOT TRUE AND NOT is_expired(last_submitted_at, last_answered_at)
