WITH repeated AS (
    SELECT * FROM items WHERE pull_count > 1
),
-- Pulls without a quote are ignored.
quoted AS (
    SELECT item_id, first_quoted_pull, unnest(latest_quoted_pulls) AS quoted_pull
    FROM item_days SEMI JOIN repeated USING (item_id)
),
quotes AS (
    SELECT item_id, min(first_quoted_pull) AS earliest, max(quoted_pull, 2) AS latest
    FROM quoted
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
    earliest.buyback_price_usd AS first_buyback_price_usd,
    latest[2].buyback_price_usd AS previous_buyback_price_usd,
    latest[1].buyback_price_usd AS latest_buyback_price_usd,
    (latest[1].buyback_price_usd - latest[2].buyback_price_usd)::DECIMAL(18,4) AS change_usd,
    latest[1].buyback_price_usd / nullif(latest[2].buyback_price_usd, 0) - 1 AS change_ratio,
    latest[1].buyback_price_usd / CASE WHEN len(latest) = 2 THEN nullif(earliest.buyback_price_usd, 0) END - 1 AS change_since_first_ratio,
    log_of(latest[1].buyback_price_usd) - log_of(latest[2].buyback_price_usd) AS change_log,
    log_of(latest[1].buyback_price_usd) - CASE WHEN len(latest) = 2 THEN log_of(earliest.buyback_price_usd) END
        AS change_since_first_log
FROM repeated LEFT JOIN quotes ON quotes.item_id = repeated.item_id
ORDER BY pull_count DESC, repeated.item_id
