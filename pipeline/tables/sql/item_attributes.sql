SELECT
    pulls.session_id,
    pulls.pull_number,
    attribute_number,
    pulls.item_id,
    attribute.trait_type,
    attribute.value,
    attribute.value_type,
    attribute.value_number
FROM (
    SELECT session_id, received_at, pull_number, unnest(item.attributes) AS attribute,
        generate_subscripts(item.attributes, 1)::INTEGER AS attribute_number
    FROM (
        SELECT session_id, received_at, unnest(items) AS item, generate_subscripts(items, 1)::INTEGER AS pull_number
        FROM fulfilled_results
    )
) AS attributes
JOIN pulls ON pulls.session_id = attributes.session_id
    AND pulls.pull_number = attributes.pull_number AND pulls.resolved_at = attributes.received_at
ORDER BY pulls.resolved_at, pulls.session_id, pulls.pull_number, attribute_number
