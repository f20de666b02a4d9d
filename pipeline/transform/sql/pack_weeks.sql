WITH weeks AS (
    SELECT
        pack_id,
        week_start_date,
        sum(pull_count)::BIGINT AS pull_count,
        sum(free_pull_count)::BIGINT AS free_pull_count,
        sum(quoted_pull_count)::BIGINT AS quoted_pull_count,
        sum(quoted_session_count)::BIGINT AS quoted_session_count,
        total(buyback_total_usd) AS buyback_total_usd,
        sum(win_count)::BIGINT AS win_count,
        {
            'n': sum(quoted_session_count), 'm': sum(quoted_pull_count), 'm2': sum(session_quotes),
            'y': sum(win_count), 'y2': sum(win_session_wins), 'ym': sum(win_session_quotes)
        } AS win_sums,
        any_value(multiple_median) AS period_median,
        round(sum(capped)::DOUBLE / nullif(sum(quoted_pull_count), 0), 9) AS multiple_mean_capped_5x
    FROM pack_week_periods
    GROUP BY pack_id, week_start_date
),
-- Prices are few: pulls are counted by price before the division.
spent AS (
    SELECT
        pack_id,
        week_start_date,
        total(price_of(pulls, price.session_price_usd, price.pulls_a_session)) AS spend_usd
    FROM (
        SELECT
            pack_id,
            week_start_date,
            {'session_price_usd': paid.session_price_usd, 'pulls_a_session': paid.pulls_a_session} AS price,
            sum(paid.quoted_pull_count) AS pulls
        FROM (SELECT pack_id, week_start_date, unnest(prices) AS paid FROM pack_week_periods)
        GROUP BY pack_id, week_start_date, price
    )
    GROUP BY pack_id, week_start_date
),
sized AS (
    SELECT pack_id, week_start_date, win_sums, design_effect(win_sums) AS design, t_975(win_sums.n - 1) AS t FROM weeks
),
intervals AS (
    SELECT
        pack_id,
        week_start_date,
        clustered_low(win_sums, design, t) AS win_rate_low,
        clustered_high(win_sums, design, t) AS win_rate_high
    FROM sized
),
-- The median of a week with pulls in several periods does not follow from theirs, but from the week's quotes.
shared_weeks AS (
    SELECT pack_id, week_start_date
    FROM pack_week_periods
    WHERE quoted_pull_count > 0
    GROUP BY pack_id, week_start_date
    HAVING count(*) > 1
),
-- Days, since DuckDB skips the files of other days only if it compares a column itself.
shared_days AS (
    SELECT DISTINCT week_start_date + unnest(range(7))::INTEGER AS pulled_date FROM shared_weeks
),
shared_quotes AS (
    SELECT
        pack_id,
        date_trunc('week', daily_quote_counts.pulled_date)::DATE AS week_start_date,
        multiple(buyback_price_usd, pulls_a_session, session_price_usd) AS multiple,
        pull_count
    FROM daily_quote_counts
    JOIN shared_days ON shared_days.pulled_date = daily_quote_counts.pulled_date
    WHERE multiple IS NOT NULL
),
ranked AS (
    SELECT
        pack_id,
        week_start_date,
        multiple,
        sum(pull_count) OVER (
            PARTITION BY pack_id, week_start_date ORDER BY multiple ROWS UNBOUNDED PRECEDING
        )::BIGINT AS up_to,
        sum(pull_count) OVER (PARTITION BY pack_id, week_start_date)::BIGINT AS quoted
    FROM shared_quotes
    SEMI JOIN shared_weeks USING (pack_id, week_start_date)
),
shared_medians AS (
    SELECT pack_id, week_start_date, median_of(multiple, up_to, quoted) AS multiple_median
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
    win_rate_low,
    win_rate_high,
    coalesce(shared_medians.multiple_median, period_median) AS multiple_median,
    multiple_mean_capped_5x
FROM weeks
LEFT JOIN spent USING (pack_id, week_start_date)
LEFT JOIN intervals USING (pack_id, week_start_date)
LEFT JOIN shared_medians USING (pack_id, week_start_date)
ORDER BY pack_id, week_start_date
