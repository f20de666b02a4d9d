-- The fields that the API's reference page documents, level by level; everything else is a finding.
WITH levels AS (
    SELECT received_at, '$' AS parent, text::JSON AS document FROM answers
    UNION ALL
    SELECT received_at, '$.result', json_extract(text, '$.result') FROM answers
    UNION ALL
    SELECT received_at, '$.result.nfts[*]', unnest(json_extract(text, '$.result.nfts[*]')) FROM answers
    UNION ALL
    SELECT received_at, '$.result.nfts[*].content', unnest(json_extract(text, '$.result.nfts[*].content')) FROM answers
    UNION ALL
    SELECT received_at, '$.result.nfts[*].content.metadata', unnest(json_extract(text, '$.result.nfts[*].content.metadata'))
    FROM answers
    UNION ALL
    SELECT received_at, '$.result.nfts[*].content.links', unnest(json_extract(text, '$.result.nfts[*].content.links'))
    FROM answers
    UNION ALL
    SELECT received_at, '$.result.nfts[*].content.metadata.attributes[*]',
        unnest(json_extract(text, '$.result.nfts[*].content.metadata.attributes[*]'))
    FROM answers
),
fields AS (
    SELECT parent, unnest(json_keys(document)) AS field, received_at
    FROM levels
    WHERE json_type(document) = 'OBJECT'
)
SELECT
    parent || CASE WHEN regexp_full_match(field, '[A-Za-z_][A-Za-z0-9_]*') THEN '.' || field
        ELSE '[' || to_json(field) || ']' END AS path,
    count(*) AS occurrence_count,
    min(received_at) AS first_seen_at,
    max(received_at) AS last_seen_at
FROM fields
WHERE NOT list_contains(CASE parent
    WHEN '$' THEN ['result', 'status', 'error']
    WHEN '$.result' THEN ['session_id', 'user_id', 'public_id', 'nfts', 'tx_hash']
    WHEN '$.result.nfts[*]' THEN [
        'id', 'buyback_price', 'mint_address', 'type', 'collection_address', 'token_standard', 'content']
    WHEN '$.result.nfts[*].content' THEN ['metadata', 'links']
    WHEN '$.result.nfts[*].content.metadata' THEN ['name', 'image', 'back_image', 'attributes']
    WHEN '$.result.nfts[*].content.links' THEN ['image', 'back_image']
    ELSE ['trait_type', 'traitType', 'key', 'name', 'value']
END, field)
GROUP BY ALL
ORDER BY path
