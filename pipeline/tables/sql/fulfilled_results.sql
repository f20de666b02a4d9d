-- The day's first fulfilled answer of each session, parsed into types once; tables are selects over this.
-- Nearly every answer is plain: each value is of the kind that belongs there, and one call reads it. The others are
-- read as JSON first, value by value, and what is strange about them is found.
WITH fulfilled AS NOT MATERIALIZED (
    SELECT session_id, received_at, body_sha256, text FROM answers WHERE outcome = 'fulfilled'
),
others AS MATERIALIZED (
    SELECT session_id FROM fulfilled GROUP BY session_id HAVING count(*) > 1 OR NOT bool_and(is_plain(text))
),
plain AS (
    SELECT session_id, received_at, body_sha256, from_json(text, '{"result":{
        "user_id":"VARCHAR","public_id":"VARCHAR","tx_hash":"VARCHAR","nfts":[{
            "id":"VARCHAR","type":"VARCHAR","buyback_price":"DECIMAL(22,10)","mint_address":"VARCHAR",
            "collection_address":"VARCHAR","token_standard":"VARCHAR","content":{
                "metadata":{"name":"VARCHAR","image":"VARCHAR","back_image":"VARCHAR","attributes":[{
                    "trait_type":"VARCHAR","traitType":"VARCHAR","key":"VARCHAR","name":"VARCHAR","value":"VARCHAR"}]},
                "links":{"image":"VARCHAR","back_image":"VARCHAR"}}
        }]}}').result AS result
    FROM fulfilled
    WHERE session_id NOT IN (FROM others)
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
        ).result.nfts END AS exact,
        -- Where an object should be and is another type, parsing leaves nothing; only an item's own text can tell which.
        json_extract(text, '$.result.nfts[*]') AS item_texts
    FROM fulfilled
    WHERE session_id IN (FROM others)
    QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY received_at, body_sha256) = 1
),
results AS (
    SELECT
        session_id,
        received_at,
        body_sha256,
        result.user_id,
        result.public_id,
        result.tx_hash,
        list_transform(result.nfts, lambda x: plain_item(x)) AS items,
        list_transform(result.nfts, lambda x: list_transform(x.content.metadata.attributes, lambda a:
            {'trait_type': trait(a), 'value': a.value, 'value_type': NULL::VARCHAR})) AS attributes,
        -- All that a plain answer can lack is an item's id.
        CASE WHEN list_count(list_transform(result.nfts, lambda x: x.id)) < len(result.nfts) THEN
            list_filter(
                list_transform(result.nfts, lambda x, i: CASE WHEN x.id IS NULL THEN of_pull(missing_item_id(NULL::JSON), i) END),
                lambda p: p IS NOT NULL)
        END AS problems
    FROM plain
    UNION ALL
    SELECT
        session_id,
        received_at,
        body_sha256,
        json_text(result.user_id),
        json_text(result.public_id),
        json_text(result.tx_hash),
        list_transform(result.nfts, lambda x, i:
            item(x, price_value(x.buyback_price, price_text(x.buyback_price, exact[i].buyback_price)))),
        list_transform(result.nfts, lambda x: attributes(x.content.metadata.attributes)),
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
            lambda p: of_pull(p, i)))), [])
    FROM parsed
)
SELECT
    session_id,
    received_at,
    body_sha256,
    user_id,
    public_id,
    tx_hash,
    len(items) AS item_count,
    list_sum(list_transform(items, lambda x: x.buyback_price::DECIMAL(18,4))) AS buyback_value_usd,
    items,
    attributes,
    problems
FROM results
