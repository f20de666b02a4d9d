-- The problems of the day's fulfilled answers, in a table of their own, so that `data_issues` does not read all answers.
-- An API that omits links may omit them in every answer, so one finding per day counts all items without a link. Items
-- of a sandbox have no links and are not counted, nor are items without a `tx_hash`, which may be of either.
WITH without_link AS (
    SELECT
        'missing_link' AS rule,
        'warning' AS severity,
        'content.links.image' AS field,
        count(*) FILTER (is_missing) || ' of ' || count(*) || ' items of the day have no link; the first is in session '
            || arg_min(session_id, (received_at, session_id)) FILTER (is_missing) AS detail,
        arg_min(body_sha256, (received_at, session_id)) FILTER (is_missing) AS body_sha256,
        min(received_at) FILTER (is_missing) AS received_at
    FROM (
        SELECT session_id, body_sha256, received_at, not_blank(item.links.image) IS NULL AS is_missing
        FROM (
            SELECT session_id, body_sha256, received_at, tx_hash, unnest(items) AS item FROM fulfilled_results
        )
        WHERE NOT starts_with(tx_hash, 'sandbox_')
    )
    HAVING count(*) FILTER (is_missing) > 0
),
findings AS (
    SELECT session_id, body_sha256, received_at, unnest(problems) AS problem FROM fulfilled_results
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
