-- The hundred dearest pulls of all days are among the hundred dearest of each.
SELECT
    session_id,
    pull_number,
    item_id,
    item_type,
    buyback_price_usd,
    name,
    image_url,
    user_id,
    pack_id,
    multiple,
    pulled_at
FROM pulls
WHERE buyback_price_usd IS NOT NULL
ORDER BY buyback_price_usd DESC, pulled_at, session_id, pull_number
LIMIT dearest_count()
