-- The part's first fulfilled answer of each session, parsed into types once; tables are selects over this.
-- An answer that is not plain, or that DuckDB cannot read, is left without items, and its body comes along, with whether its keys are repeated.
WITH plain AS (
    SELECT session_id, received_at, body_sha256, body, has_repeated_keys, TRY(from_json(plain_text(text), '{{ plain_structure }}').result) AS result
    FROM answers
),
results AS (
    SELECT
        session_id,
        received_at,
        body_sha256,
        body,
        has_repeated_keys,
        {{ result_fields }},
        list_transform(result.nfts, lambda x: plain_item(x)) AS items,
        list_transform(result.nfts, lambda x: list_transform(x.content.metadata.attributes, lambda a:
            plain_attribute(a))) AS attributes,
        -- All that a plain answer can lack is an item's id.
        CASE WHEN list_count(list_transform(result.nfts, lambda x: x.id)) < len(result.nfts) THEN
            list_filter(
                list_transform(result.nfts, lambda x, i: CASE WHEN x.id IS NULL THEN of_pull(missing_item_id(NULL::JSON), i) END),
                lambda p: p IS NOT NULL)
        END AS problems
    FROM plain
)
SELECT session_id, received_at, body_sha256, {{ result_columns }}, len(items) AS item_count, unlinked(items) AS unlinked_count,
    value_of(items) AS buyback_value_usd, items, attributes, problems,
    CASE WHEN items IS NULL THEN {'body': body, 'has_repeated_keys': has_repeated_keys} END AS strange
FROM results
