-- The top hundred pulls of all days are among the top hundred of each day.
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
LIMIT top_pull_limit()
