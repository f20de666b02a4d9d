-- The first final answers of their sessions. Sorted before unnesting, since attributes far outnumber answers.
WITH settled_results AS (
    SELECT results.session_id, list_transform(items, lambda x: x.id) AS item_ids, attributes
    FROM fulfilled_results AS results
    JOIN purchases ON purchases.session_id = results.session_id
        AND purchases.status = 'fulfilled' AND purchases.resolved_at = results.received_at
    ORDER BY resolved_at, results.session_id
),
pulls AS (
    SELECT session_id, unnest(item_ids) AS item_id, unnest(attributes) AS attributes,
        generate_subscripts(attributes, 1)::INTEGER AS pull_number
    FROM settled_results
)
SELECT
    session_id,
    pull_number,
    attribute_number,
    not_blank(item_id) AS item_id,
    attribute.trait_type,
    attribute.value,
    -- The slow path alone records a value type; all other attributes are text or null.
    coalesce(attribute.value_type, CASE WHEN attribute.value IS NULL THEN 'null' ELSE 'string' END) AS value_type,
    value_number(attribute.value, value_type) AS value_number
FROM (
    SELECT session_id, pull_number, item_id, unnest(attributes) AS attribute,
        generate_subscripts(attributes, 1)::INTEGER AS attribute_number
    FROM pulls
) AS attributes
