WITH dearest AS (
    SELECT * FROM dearest_pulls
    ORDER BY buyback_price_usd DESC, pulled_at, session_id, pull_number
    LIMIT dearest_count()
),
priced AS (
    SELECT
        dearest.*,
        session_price(dearest.price_usd, packs.price_usd, quantity, session_pull_count) / session_pull_count AS price_per_pull
    FROM dearest LEFT JOIN reference_packs AS packs ON packs.pack_id = dearest.pack_id
)
SELECT
    row_number() OVER (ORDER BY buyback_price_usd DESC, pulled_at, session_id, pull_number) AS pull_rank,
    session_id,
    pull_number,
    item_id,
    item_type,
    name,
    buyback_price_usd,
    buyback_price_usd / (SELECT nullif(sum_of(buyback_price_usd, pull_count), 0) FROM quote_days) AS total_share,
    buyback_price_usd / nullif(price_per_pull, 0) AS multiple,
    pack_id,
    user_id,
    pulled_at,
    image_url
FROM priced
ORDER BY pull_rank
