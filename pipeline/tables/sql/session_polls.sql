SELECT
    session_id,
    count(*) AS poll_count,
    min(requested_at) AS first_polled_at,
    max(requested_at) AS last_polled_at,
    max(received_at) FILTER (outcome = 'pending') AS last_pending_at,
    arg_min(outcome, (received_at, body_sha256)) FILTER (outcome IN ('fulfilled', 'failed')) AS final_outcome,
    min(received_at) FILTER (outcome IN ('fulfilled', 'failed')) AS final_at,
    max(received_at) FILTER (outcome IN ('fulfilled', 'failed')) AS last_final_at,
    arg_min(body_sha256, (received_at, body_sha256)) FILTER (outcome IN ('fulfilled', 'failed')) AS final_body_sha256
FROM status_responses
GROUP BY session_id
ORDER BY session_id
