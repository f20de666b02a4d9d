-- What is strange about the day's fulfilled answers, taken out of them once, so that nobody reads them all for it.
WITH findings AS (
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
ORDER BY received_at, session_id, problem.pull_number, problem.rule, problem.field, problem.detail
