-- The first answer of each strange session, read as JSON first, value by value, with what is strange about it.
WITH parsed AS MATERIALIZED (
    SELECT session_id, received_at, body_sha256,
        from_json(text, '{{ checked_structure }}').result AS result,
        -- Numbers whose digits would change are read again, as text.
        CASE WHEN has_inexact_number(text) THEN from_json(numbers_as_text(text),
            '{{ exact_structure }}'
        ).result.nfts END AS exact,
        -- Where an object should be and is another type, parsing leaves nothing; only an item's own text can tell which.
        json_extract(text, '$.result.nfts[*]') AS item_texts
    FROM answers
    QUALIFY row_number() OVER (PARTITION BY session_id ORDER BY received_at, body_sha256) = 1
),
-- Row by row, since DuckDB prepares the patterns of a query once, but those inside of a lambda for each list anew.
prices AS (
    SELECT *, price_text(x.buyback_price, exact.buyback_price) AS price
    FROM (
        SELECT session_id, generate_subscripts(result.nfts, 1) AS i, unnest(result.nfts) AS x,
            unnest(exact) AS exact, unnest(item_texts) AS document
        FROM parsed
    )
),
items_read AS (
    SELECT
        session_id,
        list(item(x, price_value(price, price_trouble)) ORDER BY i) AS items,
        list(with_exact_numbers(attributes(x.content.metadata.attributes), attributes(exact.content.metadata.attributes))
            ORDER BY i) AS attributes,
        flatten(list(list_transform(item_problems(x, price_trouble, document, i), lambda p: of_pull(p, i)) ORDER BY i))
            AS problems
    FROM (SELECT *, price_problem(x.buyback_price, price) AS price_trouble FROM prices)
    GROUP BY session_id
)
SELECT
    session_id,
    received_at,
    body_sha256,
    {{ result_texts }},
    len(items) AS item_count,
    unlinked(items) AS unlinked_count,
    value_of(items) AS buyback_value_usd,
    items,
    attributes,
    list_transform(
        list_filter([
            CASE WHEN result.nfts IS NULL THEN
                problem('unreadable_answer', 'error', 'result.nfts', 'the items could not be read; the answer is in raw', NULL::JSON) END,
            {{ result_problems }}
        ], lambda p: p IS NOT NULL),
        lambda p: of_pull(p, NULL)
    ) || coalesce(items_read.problems, []) AS problems
FROM parsed LEFT JOIN items_read USING (session_id)
ORDER BY received_at, session_id
