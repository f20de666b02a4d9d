WITH quotes AS (
    SELECT
        pack_id,
        date_trunc('week', pulled_date)::DATE AS week_start_date,
        buyback_price_usd,
        session_price_usd,
        pulls_a_session,
        multiple(buyback_price_usd, pulls_a_session, session_price_usd) AS multiple,
        sum(pull_count)::BIGINT AS pulls,
        sum(session_count)::BIGINT AS sessions
    FROM quote_days
    WHERE session_price_usd IS NOT NULL
    GROUP BY ALL
),
ranked AS (
    SELECT
        *,
        sum(pulls) OVER (PARTITION BY pack_id, week_start_date ORDER BY multiple NULLS LAST ROWS UNBOUNDED PRECEDING)::BIGINT AS up_to,
        coalesce(sum(pulls) FILTER (multiple IS NOT NULL) OVER (PARTITION BY pack_id, week_start_date), 0)::BIGINT AS quoted
    FROM quotes
),
weeks AS (
    SELECT
        pack_id,
        week_start_date,
        sum(pulls)::BIGINT AS pull_count,
        pulls_where(pulls, session_price_usd = 0) AS free_pull_count,
        any_value(quoted) AS quoted_pull_count,
        coalesce(sum(sessions), 0)::BIGINT AS quoted_session_count,
        total(CASE WHEN multiple IS NOT NULL THEN price_of(pulls, session_price_usd, pulls_a_session) END) AS spend_usd,
        total(CASE WHEN multiple IS NOT NULL THEN buyback_price_usd * pulls::DECIMAL(19,0) END) AS buyback_total_usd,
        pulls_where(pulls, multiple IS NOT NULL
            AND buyback_price_usd::DECIMAL(38,4) * pulls_a_session >= session_price_usd::DECIMAL(38,4)) AS win_count,
        (min(multiple) FILTER (up_to >= (quoted + 1) // 2) + min(multiple) FILTER (up_to >= quoted // 2 + 1)) / 2
            AS multiple_median,
        -- Threads add doubles in any order; rounded, the result is the same each time.
        round(sum(capped(multiple) * pulls) / nullif(any_value(quoted), 0), 9) AS multiple_mean_capped_5x
    FROM ranked
    GROUP BY pack_id, week_start_date
)
SELECT
    pack_id,
    week_start_date,
    strftime(week_start_date, '%G-W%V') AS iso_week,
    is_over(week_start_date + 7, (SELECT max(latest_at) FROM submission_days)) AS is_complete,
    pull_count,
    free_pull_count,
    quoted_pull_count,
    quoted_session_count,
    spend_usd,
    buyback_total_usd,
    buyback_total_usd / nullif(spend_usd, 0) AS return_ratio,
    win_count / nullif(quoted_pull_count, 0) AS win_rate,
    multiple_median,
    multiple_mean_capped_5x
FROM weeks
ORDER BY pack_id, week_start_date
