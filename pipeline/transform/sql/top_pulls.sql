WITH top AS (
    SELECT * FROM daily_top_pulls
    ORDER BY buyback_price_usd DESC, pulled_at, session_id, pull_number
    LIMIT top_pull_limit()
)
SELECT
    row_number() OVER (ORDER BY buyback_price_usd DESC, pulled_at, session_id, pull_number) AS pull_rank,
    session_id,
    pull_number,
    item_id,
    item_type,
    name,
    buyback_price_usd,
    buyback_price_usd / (SELECT nullif(sum_of(buyback_price_usd, pull_count), 0) FROM daily_quote_counts) AS total_share,
    multiple,
    pack_id,
    user_id,
    pulled_at,
    image_url
FROM top
ORDER BY pull_rank
