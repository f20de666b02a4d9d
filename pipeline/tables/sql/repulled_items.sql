WITH repeated AS (
    SELECT * FROM items WHERE pull_count > 1
),
quotes AS (
    SELECT
        item_id,
        -- Pulls without a quote are passed over.
        arg_min(buyback_price_usd, {'a': pulled_at, 'b': resolved_at, 'c': session_id, 'd': pull_number}) AS earliest,
        arg_max(buyback_price_usd, {'a': pulled_at, 'b': resolved_at, 'c': session_id, 'd': pull_number}, 2) AS latest
    FROM pulls SEMI JOIN repeated USING (item_id)
    GROUP BY item_id
)
SELECT
    repeated.item_id,
    item_type,
    name,
    pull_count,
    first_pulled_at,
    last_pulled_at,
    (epoch(last_pulled_at) - epoch(first_pulled_at)) / 86400 / (pull_count - 1) AS mean_days_between_pulls,
    earliest AS first_buyback_price_usd,
    latest[2] AS previous_buyback_price_usd,
    latest[1] AS latest_buyback_price_usd,
    (latest[1] - latest[2])::DECIMAL(18,4) AS change_usd,
    latest[1] / nullif(latest[2], 0) - 1 AS change_ratio,
    latest[1] / CASE WHEN len(latest) = 2 THEN nullif(earliest, 0) END - 1 AS change_since_first_ratio
FROM repeated LEFT JOIN quotes ON quotes.item_id = repeated.item_id
ORDER BY pull_count DESC, repeated.item_id
