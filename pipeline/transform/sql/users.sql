WITH bought AS (
    SELECT
        user_id,
        sum(purchase_count)::BIGINT AS purchase_count,
        sum(fulfilled_count)::BIGINT AS fulfilled_count,
        min(first_purchased_at) AS first_purchased_at,
        max(last_purchased_at) AS last_purchased_at
    FROM user_periods
    GROUP BY user_id
),
quoted AS MATERIALIZED (
    SELECT
        user_id,
        sum(pull_count)::BIGINT AS pull_count,
        sum(quoted_pull_count)::BIGINT AS quoted_pull_count,
        total(spend_usd) AS spend_usd,
        total(buyback_total_usd) AS buyback_total_usd,
        -- Decimals of this size are slow to convert, so each is converted once; the sum over users is exact.
        -- Multiples are capped, since rare jackpots would hide differences, or be taken for them.
        {
            'n': sum(session_count)::BIGINT, 'm': sum(quoted_pull_count)::BIGINT, 'm2': sum(quotes_squared)::BIGINT,
            'y': sum(capped)::DOUBLE, 'y2': sum(capped_squared)::DOUBLE, 'ym': sum(capped_times_quotes)::DOUBLE
        } AS sums,
        sum(capped) AS capped
    FROM user_period_quote_counts
    GROUP BY user_id
),
everyone AS (
    SELECT
        sum(capped) / nullif(sum(sums.m), 0) AS capped_mean,
        sum(buyback_total_usd) / nullif(sum(spend_usd), 0) AS return_ratio
    FROM quoted
),
pairs AS (
    SELECT pair_sums(sums, capped_mean) AS p FROM quoted CROSS JOIN everyone WHERE sums.m > 0
),
variances AS (
    SELECT between_variance(p) AS tau, within_variance(p, tau) AS phi FROM pairs
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
    CASE WHEN sums.m > 0 AND tau IS NOT NULL THEN round(
        everyone.return_ratio * coalesce(shrunk_ratio(sums.y, sums.m, capped_mean, phi, tau) / nullif(capped_mean, 0), 1), 9)
        END AS return_ratio_shrunk,
    first_purchased_at,
    utc_day(first_purchased_at) AS first_purchased_date,
    last_purchased_at,
    utc_day(last_purchased_at) AS last_purchased_date
FROM bought
LEFT JOIN quoted ON quoted.user_id = bought.user_id
CROSS JOIN everyone
CROSS JOIN variances
ORDER BY bought.user_id
