SELECT
    results.session_id,
    pull_number,
    item.item_id,
    item.item_type,
    item.buyback_price_usd,
    item.mint_address,
    item.collection_address,
    item.token_standard,
    item.mint_address IS NOT NULL AS is_on_chain,
    item.name,
    item.image_url,
    item.back_image_url,
    purchases.user_id,
    purchases.pack_id,
    purchases.price_usd,
    coalesce(purchases.initiated_at, purchases.resolved_at) AS pulled_at,
    purchases.resolved_at
FROM (
    SELECT session_id, received_at, unnest(items) AS item, generate_subscripts(items, 1)::INTEGER AS pull_number
    FROM fulfilled_results
) AS results
-- Only the answer that settled the session counts; a later one that says otherwise is a data issue.
JOIN purchases ON purchases.session_id = results.session_id
    AND purchases.status = 'fulfilled' AND purchases.resolved_at = results.received_at
ORDER BY purchases.resolved_at, results.session_id, pull_number
