-- The day's first fulfilled answer of each session, parsed into types once; tables are selects over this.
WITH first_answers AS (
    SELECT session_id, received_at, body_sha256, text
    FROM answers
    WHERE outcome = 'fulfilled'
    QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY received_at, body_sha256) = 1
),
parsed AS (
    SELECT session_id, received_at, body_sha256, text,
        from_json(text, '{"result":{"user_id":"JSON","public_id":"JSON","tx_hash":"JSON","nfts":[{
            "id":"JSON","type":"JSON","buyback_price":"JSON","mint_address":"JSON",
            "collection_address":"JSON","token_standard":"JSON","content":{
                "metadata":{"name":"JSON","image":"JSON","back_image":"JSON","attributes":"JSON"},
                "links":{"image":"JSON","back_image":"JSON"}}}]}}').result AS result,
        -- Sixteen digits or more are too many for a double, and exponents as of e-300 too small: such prices are read
        -- again, as text.
        CASE WHEN regexp_matches(text, '"buyback_price"\s*:\s*([-+.0-9eE]{16}|[-.0-9]+[eE]-[0-9]{3})') THEN from_json(
            regexp_replace(text, '"buyback_price"\s*:\s*(-?[0-9][-+.0-9eE]*)', '"buyback_price":"\1"', 'g'),
            '{"result":{"nfts":[{"buyback_price":"VARCHAR"}]}}'
        ).result.nfts END AS exact
    FROM first_answers
),
results AS (
    SELECT *,
        -- Where an object should be and is another type, parsing left nothing; only an item's own text can tell which.
        CASE WHEN len(list_filter(result.nfts, lambda x: x.id IS NULL OR metadata_is_empty(x) OR links_are_empty(x))) > 0
            THEN json_extract(text, '$.result.nfts[*]') END AS item_texts
    FROM parsed
)
SELECT
    session_id,
    received_at,
    body_sha256,
    not_blank(json_text(result.user_id)) AS user_id,
    not_blank(json_text(result.public_id)) AS public_id,
    not_blank(json_text(result.tx_hash)) AS tx_hash,
    coalesce(list_transform(
        list_transform(result.nfts, lambda x, i: {
            'x': x,
            'price': price_text(x.buyback_price, exact[i].buyback_price),
            'has_list_of_objects': is_list_of_objects(x.content.metadata.attributes)
        }), lambda y, i: {
        'item_id': not_blank(json_text(y.x.id)),
        'item_type': json_text(y.x.type),
        'buyback_price_usd': price_value(y.x.buyback_price, y.price),
        'mint_address': not_blank(json_text(y.x.mint_address)),
        'collection_address': not_blank(json_text(y.x.collection_address)),
        'token_standard': not_blank(json_text(y.x.token_standard)),
        'name': not_blank(json_text(y.x.content.metadata.name)),
        'image_url': coalesce(not_blank(json_text(y.x.content.metadata.image)), not_blank(json_text(y.x.content.links.image))),
        'back_image_url': coalesce(
            not_blank(json_text(y.x.content.metadata.back_image)), not_blank(json_text(y.x.content.links.back_image))),
        'attributes': attributes(y.x.content.metadata.attributes, y.has_list_of_objects),
        'problems': CASE WHEN is_unremarkable(y.x, y.price, y.has_list_of_objects) THEN [] ELSE list_filter([
            CASE WHEN price_problem(y.x.buyback_price, y.price) IS NOT NULL THEN
                problem('unreadable_price', 'error', 'buyback_price',
                    price_problem(y.x.buyback_price, y.price), y.x.buyback_price) END,
            CASE WHEN y.x.id IS NULL OR (is_string(y.x.id) AND not_blank(json_text(y.x.id)) IS NULL) THEN
                problem('missing_item_id', 'error', 'id', 'the item has no id', y.x.id) END,
            text_problem('id', y.x.id),
            text_problem('type', y.x.type),
            text_problem('mint_address', y.x.mint_address),
            text_problem('collection_address', y.x.collection_address),
            text_problem('token_standard', y.x.token_standard),
            text_problem('content.metadata.name', y.x.content.metadata.name),
            text_problem('content.metadata.image', y.x.content.metadata.image),
            text_problem('content.metadata.back_image', y.x.content.metadata.back_image),
            text_problem('content.links.image', y.x.content.links.image),
            text_problem('content.links.back_image', y.x.content.links.back_image),
            CASE WHEN y.x.id IS NULL THEN
                object_problem('nfts[' || (i - 1) || ']', item_texts[i], '$') END,
            CASE WHEN metadata_is_empty(y.x) AND links_are_empty(y.x) THEN
                object_problem('content', item_texts[i], '$.content') END,
            CASE WHEN metadata_is_empty(y.x) THEN
                object_problem('content.metadata', item_texts[i], '$.content.metadata') END,
            CASE WHEN links_are_empty(y.x) THEN
                object_problem('content.links', item_texts[i], '$.content.links') END
        ], lambda p: p IS NOT NULL) || attribute_problems(y.x.content.metadata.attributes) END
    }), []) AS items,
    list_filter([
        CASE WHEN result.nfts IS NULL THEN
            problem('unreadable_answer', 'error', 'result.nfts', 'the items could not be read; the answer is in raw', NULL::JSON) END,
        text_problem('user_id', result.user_id),
        text_problem('public_id', result.public_id),
        text_problem('tx_hash', result.tx_hash)
    ], lambda p: p IS NOT NULL) AS problems
FROM results
ORDER BY received_at, session_id
