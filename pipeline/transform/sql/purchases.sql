WITH sessions AS (
    SELECT
        *,
        row_number() OVER submissions AS occurrence,
        max(submitted_at) OVER (PARTITION BY session_id) AS last_submitted_at
    FROM session_submissions
    WHERE rejected_reason IS NULL AND session_id IN (
        SELECT session_id FROM session_submissions WHERE is_chosen(submitted_at))
    WINDOW submissions AS (
        PARTITION BY session_id ORDER BY submitted_at, source_file, content_sha256, row_number
    )
    QUALIFY occurrence = 1
),
chosen AS (
    SELECT * FROM sessions WHERE is_chosen(submitted_at)
),
polls AS (
    SELECT
        session_id,
        sum(poll_count)::BIGINT AS poll_count,
        min(first_polled_at) AS first_polled_at,
        max(last_polled_at) AS last_polled_at,
        max(last_pending_at) AS last_pending_at,
        arg_min(final_outcome, (final_at, final_body_sha256)) FILTER (final_outcome IS NOT NULL) AS final_outcome,
        min(final_at) AS final_at
    FROM session_day_polls
    WHERE session_id IN (SELECT session_id FROM chosen)
    GROUP BY session_id
),
results AS (
    SELECT
        session_id,
        received_at,
        not_blank(user_id) AS user_id,
        not_blank(public_id) AS public_id,
        not_blank(tx_hash) AS tx_hash,
        item_count AS pull_count,
        buyback_value_usd
    FROM fulfilled_results
    WHERE session_id IN (SELECT session_id FROM chosen)
)
SELECT
    chosen.session_id,
    CASE
        WHEN final_outcome IS NOT NULL THEN final_outcome
        WHEN is_expired(last_submitted_at, last_polled_at) THEN 'expired'
        ELSE 'pending'
    END AS status,
    initiated_at,
    utc_day(initiated_at) AS initiated_date,
    submitted_at,
    utc_day(submitted_at) AS submitted_date,
    first_polled_at,
    last_polled_at,
    final_at AS resolved_at,
    utc_day(final_at) AS resolved_date,
    coalesce(poll_count, 0) AS poll_count,
    pack_id,
    price_usd,
    quantity,
    coalesce(results.user_id, chosen.user_id) AS user_id,
    public_id,
    tx_hash,
    starts_with(tx_hash, 'sandbox_') AS is_sandbox,
    pull_count,
    buyback_value_usd,
    last_pending_at,
    source_file
FROM chosen
LEFT JOIN polls USING (session_id)
-- A join condition on the left side only would prevent a hash join in DuckDB.
LEFT JOIN results ON results.session_id = chosen.session_id
    AND results.received_at = CASE WHEN final_outcome = 'fulfilled' THEN final_at END
ORDER BY submitted_at, chosen.session_id
