WITH asked AS (
    SELECT
        session_id,
        count(*) AS poll_count,
        min(requested_at) AS first_polled_at,
        max(requested_at) AS last_polled_at,
        max(received_at) FILTER (outcome = 'pending') AS last_pending_at,
        arg_min(outcome, (received_at, body_sha256)) FILTER (outcome IN ('fulfilled', 'failed')) AS final_outcome,
        min(received_at) FILTER (outcome IN ('fulfilled', 'failed')) AS final_at,
        max(received_at) FILTER (outcome IN ('fulfilled', 'failed')) AS last_final_at,
        arg_min(body_sha256, (received_at, body_sha256)) FILTER (outcome IN ('fulfilled', 'failed')) AS final_body_sha256,
        greatest(last_final_at, last_pending_at) AS last_answer_at,
        max(received_at) FILTER (http_status IS NOT NULL) AS last_reply_at,
        -- Excludes failed connections, whose cause is the API or the network, not the session.
        list(received_at) FILTER (http_status IS NULL AND NOT starts_with(detail, 'no connection')) AS lost_at,
        arg_max(detail, received_at) FILTER (http_status IS NULL) AS last_loss
    FROM status_responses
    GROUP BY session_id
)
SELECT
    * EXCLUDE (last_answer_at, last_reply_at, lost_at, last_loss),
    last_reply_at IS NOT NULL AS has_reply,
    len(list_filter(coalesce(lost_at, []), lambda t: t > coalesce(last_reply_at, '-infinity'::TIMESTAMPTZ))) AS lost_count,
    CASE WHEN lost_count > 0 THEN last_loss END AS last_loss,
    -- The answer came after the part's first final one, or was requested in an earlier part, in which the session may have
    -- become final before.
    coalesce(last_answer_at > final_at, false)
        OR (last_answer_at IS NOT NULL AND first_polled_at < part_start()) AS may_have_late_answer
FROM asked
ORDER BY session_id
