-- The day's first fulfilled answer of each session, parsed into types once; tables are selects over this.
-- An answer that is not plain, or that DuckDB cannot read, is left without items, and its body comes along, with what was noted of it.
WITH plain AS (
    SELECT session_id, received_at, body_sha256, body, detail, TRY(from_json(plain_text(text), '{"result":{
        "user_id":"VARCHAR","public_id":"VARCHAR","tx_hash":"VARCHAR","nfts":[{
            "id":"VARCHAR","type":"VARCHAR","buyback_price":"DECIMAL(16,10)","mint_address":"VARCHAR",
            "collection_address":"VARCHAR","token_standard":"VARCHAR","content":{
                "metadata":{"name":"VARCHAR","image":"VARCHAR","back_image":"VARCHAR","attributes":[{
                    "trait_type":"VARCHAR","traitType":"VARCHAR","key":"VARCHAR","name":"VARCHAR","value":"JSON"}]},
                "links":{"image":"VARCHAR","back_image":"VARCHAR"}}
        }]}}').result) AS result
    FROM answers
),
results AS (
    SELECT
        session_id,
        received_at,
        body_sha256,
        body,
        detail,
        result.user_id,
        result.public_id,
        result.tx_hash,
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
SELECT session_id, received_at, body_sha256, user_id, public_id, tx_hash, len(items) AS item_count,
    value_of(items) AS buyback_value_usd, items, attributes, problems,
    CASE WHEN items IS NULL THEN {'body': body, 'detail': detail} END AS strange
FROM results
