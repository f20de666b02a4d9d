SELECT
    results.session_id,
    pull_number,
    not_blank(item.id) AS item_id,
    item.type AS item_type,
    item.buyback_price AS buyback_price_usd,
    not_blank(item.mint_address) AS mint_address,
    not_blank(item.collection_address) AS collection_address,
    not_blank(item.token_standard) AS token_standard,
    not_blank(item.mint_address) IS NOT NULL AS is_on_chain,
    not_blank(item.name) AS name,
    coalesce(not_blank(item.image), not_blank(item.links.image)) AS image_url,
    coalesce(not_blank(item.back_image), not_blank(item.links.back_image)) AS back_image_url,
    purchases.user_id,
    purchases.pack_id,
    session_price_usd,
    price_of(1, session_price_usd, pull_count)::DECIMAL(18,4) AS price_per_pull_usd,
    multiple(item.buyback_price, pull_count, session_price_usd) AS multiple,
    coalesce(purchases.initiated_at, purchases.resolved_at) AS pulled_at,
    coalesce(purchases.initiated_date, purchases.resolved_date) AS pulled_date,
    purchases.resolved_at,
    purchases.resolved_date
FROM (
    SELECT session_id, received_at, unnest(items) AS item, generate_subscripts(items, 1)::INTEGER AS pull_number
    FROM fulfilled_results
) AS results
-- Only the session's first final answer counts; a later one that differs is a data issue.
JOIN (
    SELECT
        purchases.*,
        session_price(purchases.price_usd, packs.price_usd, quantity, pull_count) AS session_price_usd
    FROM purchases LEFT JOIN reference_packs AS packs ON packs.pack_id = purchases.pack_id
) AS purchases ON purchases.session_id = results.session_id
    AND purchases.status = 'fulfilled' AND purchases.resolved_at = results.received_at
ORDER BY purchases.resolved_at, results.session_id, pull_number
