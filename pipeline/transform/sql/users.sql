WITH bought AS (
    SELECT
        user_id,
        sum(purchase_count)::BIGINT AS purchase_count,
        sum(fulfilled_count)::BIGINT AS fulfilled_count,
        min(first_purchased_at) AS first_purchased_at,
        max(last_purchased_at) AS last_purchased_at
    FROM user_days
    GROUP BY user_id
),
quoted AS (
    SELECT
        user_id,
        sum(pull_count)::BIGINT AS pull_count,
        sum(quoted_pull_count)::BIGINT AS quoted_pull_count,
        sum(session_count)::BIGINT AS session_count,
        total(spend_usd) AS spend_usd,
        total(buyback_total_usd) AS buyback_total_usd,
        sum(squares_over_spend) AS squares_over_spend
    FROM user_daily_quote_counts
    GROUP BY user_id
),
groups AS (
    SELECT group_sums(session_count, buyback_total_usd::DOUBLE, spend_usd::DOUBLE, squares_over_spend) AS sums
    FROM quoted
    WHERE spend_usd > 0
)
SELECT
    bought.user_id,
    purchase_count,
    fulfilled_count,
    coalesce(pull_count, 0) AS pull_count,
    coalesce(quoted_pull_count, 0) AS quoted_pull_count,
    spend_usd,
    buyback_total_usd,
    buyback_total_usd / nullif(spend_usd, 0) AS return_ratio,
    -- Threads add doubles in any order; rounding makes the result repeatable.
    round(shrunk_ratio(buyback_total_usd::DOUBLE, spend_usd::DOUBLE, sums), 9) AS return_ratio_shrunk,
    first_purchased_at,
    utc_day(first_purchased_at) AS first_purchased_date,
    last_purchased_at,
    utc_day(last_purchased_at) AS last_purchased_date
FROM bought
LEFT JOIN quoted ON quoted.user_id = bought.user_id
CROSS JOIN groups
ORDER BY bought.user_id
