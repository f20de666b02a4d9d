-- The problems of the day's fulfilled answers, in a table of their own, so that `data_issues` does not read all answers.
-- Of a session's answers in several parts of the day, only the first counts. An API that omits links may omit them in
-- every answer, so one finding per day counts all items without a link. Items of a sandbox have no links and are not
-- counted, nor are items without a `tx_hash`, which may be of either.
-- Two searches, as only conditions on one column let DuckDB skip rows by the statistics of the objects.
WITH flagged AS MATERIALIZED (
    SELECT session_id, received_at, body_sha256, tx_hash, unlinked_count, problems
    FROM fulfilled_results
    WHERE problems IS NOT NULL
    UNION ALL
    SELECT session_id, received_at, body_sha256, tx_hash, unlinked_count, problems
    FROM fulfilled_results
    WHERE unlinked_count > 0 AND problems IS NULL
),
-- Hardly a session has several answers. Numbers are compared faster than texts; without flagged answers, none is.
several AS (
    SELECT hash(session_id) AS h FROM fulfilled_results
    WHERE (SELECT count(*) FROM flagged) > 0
    GROUP BY h
    HAVING count(*) > 1
),
answered_again AS MATERIALIZED (
    SELECT session_id, min(received_at) AS first_at
    FROM fulfilled_results
    WHERE hash(session_id) IN (FROM several)
    GROUP BY session_id
    HAVING count(*) > 1
),
results AS (
    FROM flagged
    ANTI JOIN answered_again ON answered_again.session_id = flagged.session_id AND received_at > first_at
),
unlinked AS (
    FROM results WHERE unlinked_count > 0 AND NOT starts_with(tx_hash, 'sandbox_')
),
totals AS (
    SELECT sum(item_count) AS items
    FROM fulfilled_results
    ANTI JOIN answered_again
        ON answered_again.session_id = fulfilled_results.session_id AND received_at > first_at
    WHERE NOT starts_with(tx_hash, 'sandbox_') AND (SELECT count(*) FROM flagged) > 0
),
without_link AS (
    SELECT
        'missing_link' AS rule,
        'warning' AS severity,
        'content.links.image' AS field,
        sum(unlinked_count) || ' of ' || any_value(items) || ' items of the day have no link; the first is in session '
            || arg_min(session_id, (received_at, session_id)) AS detail,
        arg_min(body_sha256, (received_at, session_id)) AS body_sha256,
        min(received_at) AS received_at
    FROM unlinked CROSS JOIN totals
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
