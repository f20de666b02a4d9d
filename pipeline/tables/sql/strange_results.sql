-- The first answer of each strange session, read as JSON first, value by value, with what is strange about it.
WITH parsed AS (
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
        ).result.nfts END AS exact,
        -- Where an object should be and is another type, parsing leaves nothing; only an item's own text can tell which.
        json_extract(text, '$.result.nfts[*]') AS item_texts
    FROM answers
    QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY received_at, body_sha256) = 1
),
results AS (
    SELECT
        session_id,
        received_at,
        body_sha256,
        json_text(result.user_id) AS user_id,
        json_text(result.public_id) AS public_id,
        json_text(result.tx_hash) AS tx_hash,
        list_transform(result.nfts, lambda x, i:
            item(x, price_value(x.buyback_price, price_text(x.buyback_price, exact[i].buyback_price)))) AS items,
        list_transform(result.nfts, lambda x: attributes(x.content.metadata.attributes)) AS attributes,
        list_transform(
            list_filter([
                CASE WHEN result.nfts IS NULL THEN
                    problem('unreadable_answer', 'error', 'result.nfts', 'the items could not be read; the answer is in raw', NULL::JSON) END,
                text_problem('user_id', result.user_id),
                text_problem('public_id', result.public_id),
                text_problem('tx_hash', result.tx_hash)
            ], lambda p: p IS NOT NULL),
            lambda p: of_pull(p, NULL)
        ) || coalesce(flatten(list_transform(result.nfts, lambda x, i: list_transform(
            item_problems(x, price_text(x.buyback_price, exact[i].buyback_price), item_texts[i], i),
            lambda p: of_pull(p, i)))), []) AS problems
    FROM parsed
)
SELECT session_id, received_at, body_sha256, user_id, public_id, tx_hash, len(items) AS item_count,
    value_of(items) AS buyback_value_usd, items, attributes, problems
FROM results
