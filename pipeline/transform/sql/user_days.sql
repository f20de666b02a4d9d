-- The part's purchases of each user, of any status.
SELECT
    user_id,
    count(*) AS purchase_count,
    count(*) FILTER (status = 'fulfilled') AS fulfilled_count,
    min(started_at(initiated_at, submitted_at)) AS first_purchased_at,
    max(started_at(initiated_at, submitted_at)) AS last_purchased_at
FROM purchases
WHERE user_id IS NOT NULL
GROUP BY user_id
ORDER BY user_id
