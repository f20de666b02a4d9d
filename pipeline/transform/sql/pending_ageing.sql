WITH latest AS (
    SELECT max(latest_at) AS as_of FROM submission_days
),
bands (age_from_seconds, age_to_seconds, age_band) AS (
    VALUES (0, 60, 'under 1 minute'), (60, 600, '1 to 10 minutes'), (600, 3600, '10 to 60 minutes'),
        (3600, 86400, '1 to 24 hours'), (86400, NULL, 'over 24 hours')
),
waiting AS (
    SELECT
        session_id,
        submitted_at,
        session_price(purchases.price_usd, packs.price_usd, quantity, NULL) AS price_usd,
        greatest(0, epoch(as_of) - epoch(submitted_at)) AS age
    FROM purchases
    CROSS JOIN latest
    LEFT JOIN reference_packs AS packs ON packs.pack_id = purchases.pack_id
    WHERE status = 'pending'
),
by_band AS (
    SELECT
        age_from_seconds,
        count(*) AS session_count,
        count(price_usd) AS priced_session_count,
        total(price_usd) AS price_usd,
        min(submitted_at) AS oldest_submitted_at,
        arg_min(session_id, {'submitted_at': submitted_at, 'session_id': session_id}, 10) AS oldest_session_ids
    FROM waiting
    JOIN bands ON age >= age_from_seconds AND (age_to_seconds IS NULL OR age < age_to_seconds)
    GROUP BY age_from_seconds
)
SELECT
    age_band,
    age_from_seconds::BIGINT AS age_from_seconds,
    as_of,
    coalesce(session_count, 0) AS session_count,
    coalesce(priced_session_count, 0) AS priced_session_count,
    price_usd,
    oldest_submitted_at,
    oldest_session_ids
FROM bands
JOIN latest ON as_of IS NOT NULL
LEFT JOIN by_band USING (age_from_seconds)
ORDER BY age_from_seconds
