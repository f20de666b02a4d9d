WITH quotes AS (
    SELECT
        pack_id,
        date_trunc('week', pulled_date)::DATE AS week_start_date,
        buyback_price_usd,
        session_price_usd,
        pulls_a_session,
        multiple(buyback_price_usd, pulls_a_session, session_price_usd) AS multiple,
        -- Exact comparison without division where the rounding of doubles could decide.
        multiple > 1.000001 OR (multiple > 0.999999
            AND buyback_price_usd::DECIMAL(38,4) * pulls_a_session >= session_price_usd::DECIMAL(38,4)) AS is_win,
        pull_count AS pulls,
        session_count AS sessions,
        session_quotes,
        session_wins
    FROM daily_quote_counts
    WHERE session_price_usd IS NOT NULL
),
-- Prices are few: pulls are counted by price before the division.
spent AS (
    SELECT pack_id, week_start_date, total(price_of(pulls, session_price_usd, pulls_a_session)) AS spend_usd
    FROM (
        SELECT pack_id, week_start_date, session_price_usd, pulls_a_session, sum(pulls) AS pulls
        FROM quotes
        WHERE multiple IS NOT NULL
        GROUP BY ALL
    )
    GROUP BY pack_id, week_start_date
),
weeks AS (
    SELECT
        pack_id,
        week_start_date,
        sum(pulls)::BIGINT AS pull_count,
        pulls_where(pulls, session_price_usd = 0) AS free_pull_count,
        pulls_where(pulls, multiple IS NOT NULL) AS quoted_pull_count,
        coalesce(sum(sessions), 0)::BIGINT AS quoted_session_count,
        total_of(CASE WHEN multiple IS NOT NULL THEN buyback_price_usd END, pulls) AS buyback_total_usd,
        pulls_where(pulls, is_win) AS win_count,
        {
            'n': quoted_session_count, 'm': quoted_pull_count, 'm2': sum(session_quotes),
            'y': win_count, 'y2': coalesce(sum(session_wins) FILTER (is_win), 0),
            'ym': coalesce(sum(session_quotes) FILTER (is_win), 0)
        } AS win_sums,
        -- Threads add doubles in any order; rounding makes the result repeatable.
        round(sum(capped(multiple) * pulls) / nullif(quoted_pull_count, 0), 9) AS multiple_mean_capped_5x
    FROM quotes
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
-- There may be as many multiples as pulls. They are counted in bins, and only the bins with the median are sorted.
bins AS (
    SELECT pack_id, week_start_date, bin_of(multiple) AS bin, sum(pulls)::BIGINT AS pulls
    FROM quotes
    WHERE multiple IS NOT NULL
    GROUP BY ALL
),
middle AS (
    SELECT *
    FROM (
        SELECT
            pack_id,
            week_start_date,
            bin,
            sum(pulls) OVER week::BIGINT - pulls AS lower_count,
            sum(pulls) OVER week AS up_to,
            sum(pulls) OVER (PARTITION BY pack_id, week_start_date)::BIGINT AS quoted
        FROM bins
        WINDOW week AS (PARTITION BY pack_id, week_start_date ORDER BY bin ROWS UNBOUNDED PRECEDING)
    )
    WHERE up_to >= (quoted + 1) // 2 AND lower_count < quoted // 2 + 1
),
ranked AS (
    SELECT
        quotes.pack_id,
        quotes.week_start_date,
        multiple,
        quoted,
        lower_count + sum(pulls) OVER (
            PARTITION BY quotes.pack_id, quotes.week_start_date, bin ORDER BY multiple ROWS UNBOUNDED PRECEDING
        )::BIGINT AS up_to
    FROM quotes
    JOIN middle ON middle.pack_id = quotes.pack_id AND middle.week_start_date = quotes.week_start_date
        AND middle.bin = bin_of(multiple)
),
medians AS (
    SELECT
        pack_id,
        week_start_date,
        (min(multiple) FILTER (up_to >= (quoted + 1) // 2) + min(multiple) FILTER (up_to >= quoted // 2 + 1)) / 2
            AS multiple_median
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
    multiple_median,
    multiple_mean_capped_5x
FROM weeks
LEFT JOIN spent USING (pack_id, week_start_date)
LEFT JOIN intervals USING (pack_id, week_start_date)
LEFT JOIN medians USING (pack_id, week_start_date)
ORDER BY pack_id, week_start_date
