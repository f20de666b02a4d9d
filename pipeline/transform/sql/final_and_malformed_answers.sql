SELECT
    session_id,
    received_at,
    outcome,
    detail,
    body_sha256,
    -- A body that is not UTF-8 is shown with escaped bytes.
    left(coalesce(TRY(decode(body)), body::VARCHAR), 200) AS excerpt
FROM status_responses
WHERE outcome IN ('fulfilled', 'failed', 'unconfirmed', 'malformed') OR contains(detail, '; its Retry-After is implausible: ')
ORDER BY received_at, session_id, body_sha256
