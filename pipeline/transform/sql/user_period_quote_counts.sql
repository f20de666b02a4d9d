SELECT
    user_id,
    sum(pull_count)::BIGINT AS pull_count,
    sum(quoted_pull_count)::BIGINT AS quoted_pull_count,
    sum(session_count)::BIGINT AS session_count,
    sum(spend_usd) AS spend_usd,
    sum(buyback_total_usd) AS buyback_total_usd,
    sum(quotes_squared)::BIGINT AS quotes_squared,
    sum(capped) AS capped,
    sum(capped_squared) AS capped_squared,
    sum(capped_times_quotes) AS capped_times_quotes
FROM user_daily_quote_counts
GROUP BY user_id
ORDER BY user_id
