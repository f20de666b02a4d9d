-- The hundred dearest pulls of all days are among the hundred dearest of each.
WITH dearest AS (
    SELECT * FROM pulls
    WHERE buyback_price_usd IS NOT NULL
    ORDER BY buyback_price_usd DESC, pulled_at, session_id, pull_number
    LIMIT dearest_count()
)
SELECT
    dearest.session_id,
    pull_number,
    item_id,
    item_type,
    buyback_price_usd,
    name,
    image_url,
    dearest.user_id,
    dearest.pack_id,
    dearest.price_usd,
    pulled_at,
    quantity,
    pull_count AS session_pull_count
FROM dearest JOIN purchases ON purchases.session_id = dearest.session_id
ORDER BY buyback_price_usd DESC, pulled_at, dearest.session_id, pull_number
