SELECT
    session_id,
    pull_number,
    item_id,
    coalesce(item_type, 'unknown') AS item_type,
    pulled_date,
    sold_at,
    utc_day(sold_at) AS sold_date,
    greatest(epoch_us(sold_at) - epoch_us(resolved_at), 0) / 1e6 AS quote_age_seconds,
    greatest(utc_day(sold_at) - pulled_date, 0) AS days_since_pull,
    buyback_price_usd,
    amount_usd,
    resolved_at,
    submitted_at,
    source_file
FROM sellback_records
WHERE occurrence = 1
ORDER BY sold_at, session_id, pull_number
