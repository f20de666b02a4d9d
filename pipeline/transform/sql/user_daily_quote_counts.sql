-- Each user's spend and quotes, over the quoted pulls of sessions with a price above zero. Capped multiples are small, so
-- decimals sum them to the same bits however the day is cut.
WITH sessions AS (
    SELECT
        user_id,
        count(*) AS pull_count,
        count(buyback_price_usd) AS quotes,
        any_value(session_price_usd) AS price,
        sum(buyback_price_usd) AS quoted_usd,
        sum(capped(multiple)::DECIMAL(38, 15)) AS capped,
        CASE WHEN price > 0 AND quotes > 0 THEN price_of(quotes, price, pull_count) END AS spend_usd
    FROM pulls
    WHERE user_id IS NOT NULL
    GROUP BY user_id, session_id
)
SELECT
    user_id,
    sum(pull_count)::BIGINT AS pull_count,
    coalesce(sum(quotes) FILTER (spend_usd > 0), 0)::BIGINT AS quoted_pull_count,
    count(*) FILTER (spend_usd > 0) AS session_count,
    total(CASE WHEN spend_usd > 0 THEN spend_usd END) AS spend_usd,
    total(CASE WHEN spend_usd > 0 THEN quoted_usd END) AS buyback_total_usd,
    (sum(quotes * quotes) FILTER (spend_usd > 0))::BIGINT AS quotes_squared,
    sum(capped) FILTER (spend_usd > 0) AS capped,
    sum((capped::DOUBLE * capped::DOUBLE)::DECIMAL(38, 15)) FILTER (spend_usd > 0) AS capped_squared,
    sum((capped::DOUBLE * quotes)::DECIMAL(38, 15)) FILTER (spend_usd > 0) AS capped_times_quotes
FROM sessions
GROUP BY user_id
ORDER BY user_id
