WITH by_quote AS (
    SELECT pulled_date, pack_id, item_type, buyback_price_usd, sum(pull_count)::BIGINT AS pulls
    FROM daily_quote_counts
    GROUP BY pulled_date, pack_id, item_type, buyback_price_usd
),
ranked AS (
    SELECT
        *,
        sum(pulls) OVER (
            PARTITION BY pulled_date, pack_id, item_type ORDER BY buyback_price_usd NULLS LAST ROWS UNBOUNDED PRECEDING
        )::BIGINT AS up_to,
        sum(pulls) FILTER (buyback_price_usd IS NOT NULL) OVER (PARTITION BY pulled_date, pack_id, item_type)::BIGINT AS priced
    FROM by_quote
),
-- The common base of spend and return: quoted pulls of sessions with a price above zero.
paid AS (
    SELECT
        pulled_date,
        pack_id,
        item_type,
        sum(pulls)::BIGINT AS paid_pull_count,
        TRY_CAST(sum(price_of(pulls, session_price_usd, pulls_a_session)) AS DECIMAL(18,4)) AS spend_usd,
        TRY_CAST(sum(quotes_usd) AS DECIMAL(18,4)) AS spend_buyback_usd
    FROM (
        SELECT
            pulled_date, pack_id, item_type, session_price_usd, pulls_a_session,
            sum(pull_count)::BIGINT AS pulls,
            sum_of(buyback_price_usd, pull_count) AS quotes_usd
        FROM daily_quote_counts
        WHERE buyback_price_usd IS NOT NULL AND session_price_usd > 0
        GROUP BY pulled_date, pack_id, item_type, session_price_usd, pulls_a_session
    )
    GROUP BY pulled_date, pack_id, item_type
),
days AS (
    SELECT
        pulled_date,
        pack_id,
        item_type,
        sum(pulls)::BIGINT AS pull_count,
        coalesce(any_value(priced), 0) AS priced_pull_count,
        total_of(buyback_price_usd, pulls) AS buyback_total_usd,
        mean_of(buyback_price_usd, pulls) AS buyback_mean_usd,
        percentile(buyback_price_usd, up_to, priced, 0.5) AS buyback_median_usd,
        percentile(buyback_price_usd, up_to, priced, 0.25) AS buyback_p25_usd,
        percentile(buyback_price_usd, up_to, priced, 0.75) AS buyback_p75_usd,
        percentile(buyback_price_usd, up_to, priced, 0.95) AS buyback_p95_usd,
        max(buyback_price_usd) AS buyback_max_usd
    FROM ranked
    GROUP BY pulled_date, pack_id, item_type
)
SELECT
    days.*,
    coalesce(paid_pull_count, 0) AS paid_pull_count,
    spend_usd,
    spend_buyback_usd,
    is_over(days.pulled_date + 1, (SELECT max(latest_at) FROM submission_days)) AS is_complete
FROM days LEFT JOIN paid ON paid.pulled_date = days.pulled_date AND paid.item_type = days.item_type
    AND paid.pack_id IS NOT DISTINCT FROM days.pack_id
ORDER BY days.pulled_date, days.pack_id NULLS FIRST, days.item_type
