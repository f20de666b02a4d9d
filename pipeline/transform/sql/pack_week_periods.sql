WITH quotes AS NOT MATERIALIZED (
    SELECT
        pack_id,
        date_trunc('week', pulled_date)::DATE AS week_start_date,
        session_price_usd,
        pulls_a_session,
        buyback_price_usd,
        multiple(buyback_price_usd, pulls_a_session, session_price_usd) AS multiple,
        pull_count AS pulls,
        session_count,
        session_quotes,
        session_wins
    FROM daily_quote_counts
    WHERE session_price_usd IS NOT NULL
),
-- There may be as many multiples as pulls. They are counted in bins, and only the bins with the median are sorted.
binned AS (
    SELECT
        pack_id,
        week_start_date,
        session_price_usd,
        pulls_a_session,
        CASE WHEN multiple IS NOT NULL THEN bin_of(multiple) END AS bin,
        -- Exact comparison without division where the rounding of doubles could decide.
        CASE WHEN multiple > 1.000001 THEN true WHEN multiple > 0.999999
            THEN is_win(buyback_price_usd, pulls_a_session, session_price_usd) ELSE false END AS is_win,
        sum(pulls)::BIGINT AS pulls,
        sum(session_count) AS session_count,
        sum(session_quotes) AS session_quotes,
        sum(session_wins) AS session_wins,
        sum_of(CASE WHEN multiple IS NOT NULL THEN buyback_price_usd END, pulls) AS buyback_total_usd,
        -- Capped multiples are small, so decimals sum them to the same bits in every build.
        sum_of(capped(multiple)::DECIMAL(16,15), pulls) AS capped
    FROM quotes
    GROUP BY ALL
),
bins AS (
    SELECT pack_id, week_start_date, bin, sum(pulls)::BIGINT AS pulls
    FROM binned
    WHERE bin IS NOT NULL
    GROUP BY pack_id, week_start_date, bin
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
    SELECT pack_id, week_start_date, median_of(multiple, up_to, quoted) AS multiple_median
    FROM ranked
    GROUP BY pack_id, week_start_date
),
by_price AS (
    SELECT
        pack_id,
        week_start_date,
        session_price_usd,
        pulls_a_session,
        sum(pulls)::BIGINT AS pull_count,
        pulls_where(pulls, bin IS NOT NULL) AS quoted_pull_count,
        sum(session_count) AS quoted_session_count,
        sum(buyback_total_usd) AS buyback_total_usd,
        pulls_where(pulls, is_win) AS win_count,
        sum(session_quotes) AS session_quotes,
        sum(session_wins) FILTER (is_win) AS win_session_wins,
        sum(session_quotes) FILTER (is_win) AS win_session_quotes,
        sum(capped) AS capped
    FROM binned
    GROUP BY pack_id, week_start_date, session_price_usd, pulls_a_session
),
weeks AS (
    SELECT
        pack_id,
        week_start_date,
        sum(pull_count)::BIGINT AS pull_count,
        pulls_where(pull_count, session_price_usd = 0) AS free_pull_count,
        sum(quoted_pull_count)::BIGINT AS quoted_pull_count,
        sum(quoted_session_count)::BIGINT AS quoted_session_count,
        list({
            'session_price_usd': session_price_usd, 'pulls_a_session': pulls_a_session, 'quoted_pull_count': quoted_pull_count
        } ORDER BY session_price_usd, pulls_a_session) FILTER (quoted_pull_count > 0) AS prices,
        sum(buyback_total_usd) AS buyback_total_usd,
        sum(win_count)::BIGINT AS win_count,
        sum(session_quotes)::BIGINT AS session_quotes,
        coalesce(sum(win_session_wins), 0)::BIGINT AS win_session_wins,
        coalesce(sum(win_session_quotes), 0)::BIGINT AS win_session_quotes,
        sum(capped) AS capped
    FROM by_price
    GROUP BY pack_id, week_start_date
)
SELECT
    pack_id,
    week_start_date,
    pull_count,
    free_pull_count,
    quoted_pull_count,
    quoted_session_count,
    prices,
    buyback_total_usd,
    win_count,
    session_quotes,
    win_session_wins,
    win_session_quotes,
    capped,
    multiple_median
FROM weeks
LEFT JOIN medians USING (pack_id, week_start_date)
ORDER BY pack_id, week_start_date
