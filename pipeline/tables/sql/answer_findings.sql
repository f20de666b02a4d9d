-- What is strange about the day's fulfilled answers, taken out of them once, so that nobody reads them all for it.
WITH items AS (
    SELECT session_id, body_sha256, received_at, unnest(items) AS item, generate_subscripts(items, 1)::INTEGER AS pull_number
    FROM fulfilled_results
),
findings AS (
    SELECT session_id, NULL AS pull_number, body_sha256, received_at, unnest(problems) AS problem FROM fulfilled_results
    UNION ALL
    -- Plain answers were not searched for findings; all that they can lack is an id.
    SELECT session_id, pull_number, body_sha256, received_at,
        unnest(coalesce(item.problems, CASE WHEN item.id IS NULL THEN [missing_item_id(NULL::JSON)] END))
    FROM items
)
SELECT
    problem.rule,
    problem.severity,
    CASE
        WHEN pull_number IS NULL THEN 'purchases'
        WHEN problem.field LIKE 'content.metadata.attributes%' THEN 'item_attributes'
        ELSE 'pulls'
    END AS table_name,
    session_id,
    pull_number,
    body_sha256,
    problem.field,
    problem.detail,
    problem.raw_value,
    received_at
FROM findings
ORDER BY received_at, session_id, pull_number, problem.rule, problem.field, problem.detail
