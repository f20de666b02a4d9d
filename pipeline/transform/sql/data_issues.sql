-- Few sessions are submitted again, and only those are ranked; comparing counts shows quickly whether there are any.
WITH ranked AS (
    SELECT *, row_number() OVER (
        PARTITION BY session_id ORDER BY submitted_at, source_file, content_sha256, row_number
    ) AS occurrence
    FROM session_submissions
    WHERE rejected_reason IS NULL AND session_id IN (
        SELECT session_id FROM session_submissions
        WHERE rejected_reason IS NULL
            AND (SELECT count(*) FROM session_submissions WHERE rejected_reason IS NULL) > (SELECT count(*) FROM purchases)
        GROUP BY session_id HAVING count(*) > 1)
),
later AS (
    SELECT
        later.*,
        -- A detail that is missing in a later submission is no difference.
        list_filter([
            difference('initiated_at', earlier.initiated_at, later.initiated_at),
            difference('pack_id', earlier.pack_id, later.pack_id),
            difference('price_usd', earlier.price_usd, later.price_usd),
            difference('quantity', earlier.quantity, later.quantity),
            difference('user_id', earlier.user_id, later.user_id)
        ], lambda d: d IS NOT NULL) AS differences
    FROM ranked AS later
    JOIN ranked AS earlier ON earlier.session_id = later.session_id AND earlier.occurrence = 1
    WHERE later.occurrence > 1
),
-- Sessions with a possible answer after their first final one. They are rare, so the whole history is not joined: an
-- answer is a candidate if it looks late within its day, or was requested after the session became final.
suspects AS (
    SELECT session_id FROM session_day_polls WHERE may_have_late_answer
    UNION SELECT session_id FROM late_requests
),
-- Unnested from a list: DuckDB then expects few rows and builds the hash table of the join from these.
listed AS MATERIALIZED (
    SELECT unnest(session_ids) AS session_id FROM (SELECT list(session_id) AS session_ids FROM suspects)
),
answered_on AS MATERIALIZED (
    SELECT polls.session_id, status, resolved_at, polls.last_pending_at
    FROM (FROM session_day_polls SEMI JOIN listed USING (session_id)) AS polls
    JOIN (FROM purchases SEMI JOIN listed USING (session_id)) AS purchases ON purchases.session_id = polls.session_id
    WHERE greatest(last_final_at, polls.last_pending_at) > resolved_at
),
-- Most suspects turn out to have no such answer.
answered_late AS MATERIALIZED (
    SELECT unnest(session_ids) AS session_id FROM (SELECT list(DISTINCT session_id) AS session_ids FROM answered_on)
),
-- Sessions whose requests bring no answer although connections succeed, counted since their last answer.
lost AS (
    SELECT session_id, sum(lost_count) AS lost_count, arg_max(last_loss, last_polled_at) AS last_loss,
        max(last_polled_at) AS last_polled_at
    FROM (
        SELECT *, max(last_polled_at) FILTER (has_reply) OVER (PARTITION BY session_id) AS heard_at
        FROM session_day_polls
        WHERE session_id IN (SELECT session_id FROM session_day_polls WHERE lost_count > 0)
    )
    WHERE heard_at IS NULL OR last_polled_at >= heard_at
    GROUP BY session_id
    HAVING sum(lost_count) >= 3
),
unconfirmed AS MATERIALIZED (
    FROM final_and_malformed_answers WHERE outcome = 'unconfirmed'
),
unconfirmed_purchases AS (
    SELECT session_id, status FROM purchases
    SEMI JOIN (SELECT unnest(session_ids) AS session_id FROM (SELECT list(DISTINCT session_id) AS session_ids FROM unconfirmed))
        USING (session_id)
),
findings AS (
    SELECT
        CASE row_number WHEN 0 THEN 'rejected_file' ELSE 'rejected_row' END AS rule,
        'error' AS severity,
        'session_submissions' AS table_name,
        session_id,
        NULL AS pull_number,
        submitted_row(source_file, row_number, source_cursor) AS source,
        faulty_fields(rejected_reason) AS field,
        rejected_reason AS detail,
        raw_value,
        submitted_at AS observed_at
    FROM session_submissions
    WHERE rejected_reason IS NOT NULL
    UNION ALL
    SELECT
        CASE row_number WHEN 0 THEN 'rejected_file' ELSE 'rejected_row' END, 'error', 'sellback_submissions', session_id, NULL,
        'sellbacks/' || source_file || CASE row_number WHEN 0 THEN '' ELSE ' row ' || row_number END,
        faulty_fields(rejected_reason), rejected_reason, raw_value, submitted_at
    FROM sellback_submissions
    WHERE rejected_reason IS NOT NULL
    UNION ALL
    -- Records may cover many items that were never submitted: one row per file.
    SELECT
        'unknown_sellback', 'warning', 'sellbacks', NULL, NULL, 'sellbacks/' || source_file, 'item_id',
        occurrences(count(*), min(submitted_at), max(submitted_at)) || ': no pull matches the item and session',
        left(min(item_id), 200), min(submitted_at)
    FROM sellback_records
    WHERE session_id IS NULL
    GROUP BY source_file
    UNION ALL
    SELECT
        'conflicting_sellback', 'warning', 'sellbacks', later.session_id, later.pull_number,
        'sellbacks/' || later.source_file || ' row ' || later.row_number, 'sold_at, amount_usd',
        'differs from the first record of the pull, which counts: sold at ' || first.sold_at::TIMESTAMP || ' for '
            || coalesce(first.amount_usd::VARCHAR, 'an unknown amount'),
        later.sold_at::TIMESTAMP || ', ' || coalesce(later.amount_usd::VARCHAR, 'none'), later.submitted_at
    FROM sellback_records AS later
    JOIN sellback_records AS first ON first.session_id = later.session_id AND first.pull_number = later.pull_number
    WHERE later.occurrence > 1 AND first.occurrence = 1
        AND (later.sold_at <> first.sold_at OR later.amount_usd <> first.amount_usd)
    UNION ALL
    SELECT
        CASE row_number WHEN 0 THEN 'rejected_reference_file' ELSE 'rejected_reference_row' END, 'error',
        'reference_packs', NULL, NULL,
        'reference/packs.csv' || CASE row_number WHEN 0 THEN '' ELSE ' row ' || row_number END,
        faulty_fields(rejected_reason), rejected_reason, raw_value, modified_at
    FROM reference_pack_rows
    WHERE rejected_reason IS NOT NULL
    UNION ALL
    SELECT
        'implausible_time', 'warning', 'purchases', session_id, NULL,
        submitted_row(source_file, row_number, source_cursor), 'initiated_at',
        CASE WHEN initiated_at > submitted_at THEN 'more than a day after the submission' ELSE 'before 2015' END
            || '; excluded from latencies',
        initiated_at::VARCHAR AS raw_value, submitted_at
    FROM session_submissions
    WHERE rejected_reason IS NULL AND initiated_at IS NOT NULL AND plausible_time(initiated_at, submitted_at) IS NULL
    UNION ALL
    SELECT
        'implausible_time', 'warning', 'sellbacks', session_id, NULL, 'sellbacks/' || source_file || ' row ' || row_number,
        'sold_at', CASE WHEN sold_at > submitted_at THEN 'more than a day after the submission' ELSE 'before 2015' END
            || '; the record is excluded from all figures',
        sold_at::VARCHAR AS raw_value, submitted_at
    FROM sellback_submissions
    WHERE rejected_reason IS NULL AND plausible_time(sold_at, submitted_at) IS NULL
    UNION ALL
    SELECT
        'conflicting_submission', 'warning', 'purchases', session_id, NULL,
        submitted_row(source_file, row_number, source_cursor),
        array_to_string(list_transform(differences, lambda d: d.field), ', '),
        'differs from the first submission, which counts: '
            || array_to_string(list_transform(differences, lambda d: d.field || ' ' || d.detail), ', '),
        left(array_to_string(list_transform(differences, lambda d: d.raw_value), ', '), 200),
        submitted_at
    FROM later
    WHERE len(differences) > 0
    UNION ALL
    -- If the session is final nevertheless, the malformed answer has no further effect.
    SELECT 'malformed_answer', CASE WHEN resolved_at IS NULL THEN 'error' ELSE 'warning' END, 'status_responses',
        answers.session_id, NULL, body_sha256, NULL, detail, excerpt, received_at
    FROM final_and_malformed_answers AS answers LEFT JOIN purchases ON purchases.session_id = answers.session_id
    WHERE outcome = 'malformed'
    UNION ALL
    SELECT
        'unconfirmed_failure', 'warning', 'status_responses', answers.session_id, NULL, body_sha256, NULL,
        'an answer reported a failure that no request on a fresh connection confirmed; it may belong to another session; '
            || 'this session is ' || status,
        excerpt, received_at
    FROM unconfirmed AS answers JOIN unconfirmed_purchases USING (session_id)
    WHERE status <> 'failed'
    UNION ALL
    SELECT
        'lost_answers', 'error', 'status_responses', lost.session_id, NULL, NULL, NULL,
        'the last ' || lost_count || ' requests brought no answer; the latest problem: ' || last_loss, NULL,
        lost.last_polled_at
    FROM lost JOIN purchases ON purchases.session_id = lost.session_id
    WHERE resolved_at IS NULL
    UNION ALL
    SELECT
        'implausible_retry_after', 'warning', 'status_responses', arg_min(session_id, (received_at, session_id)), NULL,
        NULL, 'Retry-After', occurrences(count(*), min(received_at), max(received_at))
            || '; more than a day, replaced by 60 s',
        arg_min(split_part(detail, '; its Retry-After is implausible: ', 2), (received_at, session_id)), min(received_at)
    FROM final_and_malformed_answers
    WHERE contains(detail, '; its Retry-After is implausible: ')
    GROUP BY split_part(detail, '; its Retry-After is implausible: ', 1)
    UNION ALL
    SELECT
        'contradicting_answer', 'error', 'purchases', answers.session_id, NULL, body_sha256, NULL,
        'the session was already ' || status || '; a later answer reports ' || outcome
            || CASE WHEN outcome = status THEN ' with other content' ELSE '' END,
        excerpt, received_at
    FROM (FROM final_and_malformed_answers SEMI JOIN answered_late USING (session_id)) AS answers
    JOIN (SELECT DISTINCT session_id, status, resolved_at FROM answered_on) AS settled USING (session_id)
    JOIN (FROM session_day_polls SEMI JOIN answered_late USING (session_id)) AS polls
        ON polls.session_id = answers.session_id AND polls.final_at = resolved_at
    WHERE outcome IN ('fulfilled', 'failed')
        AND received_at > resolved_at
        AND (outcome <> status OR body_sha256 <> final_body_sha256)
    UNION ALL
    SELECT
        'contradicting_answer', 'warning', 'purchases', session_id, NULL, NULL, NULL,
        'the session was already ' || status || '; a later answer reports pending', NULL, max(last_pending_at)
    FROM answered_on
    WHERE last_pending_at > resolved_at
    GROUP BY session_id, status, utc_day(last_pending_at)
    UNION ALL
    SELECT
        rule, severity, table_name, session_id, pull_number, body_sha256, field, detail, raw_value, received_at
    FROM answer_findings
    UNION ALL
    SELECT
        'unknown_field', 'info', 'status_responses', NULL, NULL, NULL, path,
        occurrences(sum(occurrence_count)::BIGINT, min(first_seen_at), max(last_seen_at)), NULL, min(first_seen_at)
    FROM unknown_fields
    GROUP BY path
    UNION ALL
    SELECT
        'new_item_type', 'info', 'pulls', NULL, NULL, NULL, 'type',
        occurrences(count(*), min(resolved_at), max(resolved_at)), left(item_type, 200), min(resolved_at)
    FROM pulls
    WHERE item_type NOT IN ('enft', 'ebay', 'fanatics', 'alt', 'external')
    GROUP BY item_type
    UNION ALL
    SELECT
        'time_in_future', 'warning', table_name, NULL, NULL, NULL, field,
        'written by a machine whose clock was ahead, for example for ' || what || ' ' || left(min(id), 200) || ': '
            || occurrences(count(*), min(moment), max(moment)),
        NULL, min(moment)
    -- Compared plainly, so that DuckDB skips objects by their statistics.
    FROM (
        SELECT 'purchases' AS table_name, 'submitted_at' AS field, 'session' AS what, session_id AS id, submitted_at AS moment
        FROM purchases WHERE submitted_at > time_of_run()
        UNION ALL
        SELECT 'purchases' AS table_name, 'last_polled_at' AS field, 'session' AS what, session_id AS id, last_polled_at AS moment
        FROM purchases WHERE last_polled_at > time_of_run()
        UNION ALL
        SELECT 'purchases' AS table_name, 'resolved_at' AS field, 'session' AS what, session_id AS id, resolved_at AS moment
        FROM purchases WHERE resolved_at > time_of_run()
        UNION ALL
        SELECT 'sellbacks' AS table_name, 'submitted_at' AS field, 'item' AS what, item_id AS id, submitted_at AS moment
        FROM sellback_submissions WHERE rejected_reason IS NULL AND is_future(submitted_at)
    )
    GROUP BY table_name, what, field
    UNION ALL
    -- Value types that a field did not have before: one row per field and type, beside the rows for each value.
    SELECT
        'changed_type', 'warning', 'status_responses', NULL, NULL, NULL, field,
        occurrences(count(*), min(received_at), max(received_at)), detail, min(received_at)
    FROM answer_findings
    WHERE rule = 'unreadable_field'
    GROUP BY field, detail
)
SELECT rule, severity, table_name, session_id, pull_number::INTEGER AS pull_number, source, field, detail, raw_value, observed_at
FROM findings
ORDER BY observed_at, rule, session_id, pull_number, source, field, detail
