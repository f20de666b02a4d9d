WITH bands (age_from_seconds, age_to_seconds, age_band) AS (
    VALUES (0, 3600, 'under 1 hour'), (3600, 86400, '1 to 24 hours'), (86400, 604800, '1 to 7 days'),
        (604800, 2592000, '7 to 30 days'), (2592000, NULL, 'over 30 days')
),
days AS (
    SELECT
        age_from_seconds,
        age_band,
        item_type,
        sold_date,
        count(*) AS sold_count,
        count(*) FILTER (amount_usd = buyback_price_usd) AS at_quote_count,
        sum(amount_usd) AS realised_usd,
        sum(buyback_price_usd) AS quoted_usd
    FROM sellbacks
    JOIN bands ON quote_age_seconds >= age_from_seconds AND (age_to_seconds IS NULL OR quote_age_seconds < age_to_seconds)
    WHERE amount_usd IS NOT NULL AND buyback_price_usd IS NOT NULL
    GROUP BY ALL
),
bands_of_types AS (
    SELECT
        age_band,
        item_type,
        any_value(age_from_seconds)::BIGINT AS age_from_seconds,
        sum(sold_count)::BIGINT AS sold_count,
        sum(at_quote_count) AS at_quote_count,
        total(quoted_usd) AS quoted_usd,
        total(realised_usd) AS realised_usd,
        session_sums(realised_usd::DOUBLE, quoted_usd::DOUBLE) AS sums
    FROM days
    GROUP BY age_band, item_type
)
SELECT
    age_band,
    item_type,
    age_from_seconds,
    sold_count,
    sums.n AS day_count,
    quoted_usd,
    realised_usd,
    realised_usd / nullif(quoted_usd, 0) AS realised_ratio,
    -- Threads add doubles in any order; rounding makes the result repeatable.
    CASE WHEN sums.n >= 10 THEN round(ratio_mean(sums) - t_975(sums.n - 1) * clustered_error(sums), 9) END AS realised_ratio_low,
    CASE WHEN sums.n >= 10 THEN round(ratio_mean(sums) + t_975(sums.n - 1) * clustered_error(sums), 9) END AS realised_ratio_high,
    at_quote_count / sold_count AS at_quote_share
FROM bands_of_types
ORDER BY age_from_seconds, item_type
