-- The problems of the day's fulfilled answers, in a table of their own, so that `data_issues` does not read all answers.
-- Of a session's answers in several parts of the day, only the first counts. An API that omits links may omit them in
-- every answer, so one finding per day counts all items without a link. Items of a sandbox have no links and are not
-- counted, nor are items without a `tx_hash`, which may be of either.
WITH answered_again AS (
    SELECT session_id, min(received_at) AS first_at
    FROM fulfilled_results
    -- Numbers are grouped faster than texts; hardly a session has several answers.
    WHERE hash(session_id) IN (SELECT hash(session_id) AS h FROM fulfilled_results GROUP BY h HAVING count(*) > 1)
    GROUP BY session_id
    HAVING count(*) > 1
),
results AS NOT MATERIALIZED (
    SELECT session_id, received_at, body_sha256, tx_hash, item_count, unlinked_count, problems
    FROM fulfilled_results
    ANTI JOIN answered_again ON answered_again.session_id = fulfilled_results.session_id AND received_at > first_at
),
totals AS (
    SELECT sum(unlinked_count) AS unlinked, sum(item_count) AS items
    FROM results
    WHERE NOT starts_with(tx_hash, 'sandbox_')
),
without_link AS (
    SELECT
        'missing_link' AS rule,
        'warning' AS severity,
        'content.links.image' AS field,
        any_value(unlinked) || ' of ' || any_value(items) || ' items of the day have no link; the first is in session '
            || arg_min(session_id, (received_at, session_id)) AS detail,
        arg_min(body_sha256, (received_at, session_id)) AS body_sha256,
        min(received_at) AS received_at
    FROM results CROSS JOIN totals
    WHERE unlinked_count > 0 AND NOT starts_with(tx_hash, 'sandbox_')
    HAVING count(*) > 0
),
findings AS (
    SELECT session_id, body_sha256, received_at, unnest(problems) AS problem FROM results WHERE problems IS NOT NULL
)
SELECT
    problem.rule,
    problem.severity,
    CASE
        WHEN problem.pull_number IS NULL THEN 'purchases'
        WHEN problem.field LIKE 'content.metadata.attributes%' THEN 'item_attributes'
        ELSE 'pulls'
    END AS table_name,
    session_id,
    problem.pull_number,
    body_sha256,
    problem.field,
    problem.detail,
    problem.raw_value,
    received_at
FROM findings
UNION ALL
SELECT rule, severity, 'pulls', NULL, NULL, body_sha256, field, detail, NULL, received_at FROM without_link
ORDER BY received_at, session_id, pull_number, rule, field, detail
