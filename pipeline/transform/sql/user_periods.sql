SELECT
    user_id,
    sum(purchase_count)::BIGINT AS purchase_count,
    sum(fulfilled_count)::BIGINT AS fulfilled_count,
    min(first_purchased_at) AS first_purchased_at,
    max(last_purchased_at) AS last_purchased_at
FROM user_days
GROUP BY user_id
ORDER BY user_id
