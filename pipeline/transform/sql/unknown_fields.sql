-- Fields that the API's reference page does not document. Answers come in few shapes, so only of each shape all fields are
-- looked at, and only the answers of a shape that has such fields, or hides some, are taken apart.
WITH shapes AS (
    SELECT json_structure(text)::VARCHAR AS shape, list(body_sha256) AS bodies FROM answers GROUP BY shape
),
odd_answers AS (
    SELECT unnest(bodies) AS body_sha256 FROM shapes
    WHERE hides_fields(shape)
        OR len(list_filter(documented_objects(shape), lambda o: len(unknown_keys(o.object, o.parent)) > 0)) > 0
),
objects AS (
    SELECT received_at, unnest(documented_objects(text)) AS found
    FROM answers
    WHERE body_sha256 IN (FROM odd_answers)
),
fields AS (
    SELECT found.parent AS parent, unnest(unknown_keys(found.object, found.parent)) AS field, received_at FROM objects
)
SELECT
    parent || CASE WHEN regexp_full_match(field, '[A-Za-z_][A-Za-z0-9_]*') THEN '.' || field
        ELSE '[' || to_json(field) || ']' END AS path,
    count(*) AS occurrence_count,
    min(received_at) AS first_seen_at,
    max(received_at) AS last_seen_at
FROM fields
GROUP BY ALL
ORDER BY path
