-- The answers that settled their sessions. They are sorted before they are taken apart: attributes are many.
WITH settled_results AS (
    SELECT results.session_id, items, resolved_at
    FROM fulfilled_results AS results
    JOIN purchases ON purchases.session_id = results.session_id
        AND purchases.status = 'fulfilled' AND purchases.resolved_at = results.received_at
)
SELECT
    session_id,
    pull_number,
    attribute_number,
    not_blank(item_id) AS item_id,
    coalesce(attribute.trait_type, attribute.traitType, attribute.key, attribute.name) AS trait_type,
    attribute.value,
    -- Only of strange attributes the kind was noted; the others are text or null.
    coalesce(attribute.value_type, CASE WHEN attribute.value IS NULL THEN 'null' ELSE 'string' END) AS value_type,
    value_number(attribute.value, value_type) AS value_number
FROM (
    SELECT session_id, pull_number, item_id, unnest(attributes) AS attribute,
        generate_subscripts(attributes, 1)::INTEGER AS attribute_number
    FROM (
        SELECT session_id, pull_number, item.id AS item_id, item.content.metadata.attributes AS attributes
        FROM (
            SELECT session_id, unnest(items) AS item, generate_subscripts(items, 1)::INTEGER AS pull_number
            FROM (FROM settled_results ORDER BY resolved_at, session_id)
        )
    )
) AS attributes
