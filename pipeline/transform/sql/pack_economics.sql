WITH priced_purchases AS (
    SELECT
        purchases.pack_id,
        status,
        pull_count,
        buyback_value_usd,
        session_price(purchases.price_usd, packs.price_usd, quantity, pull_count) AS price_usd,
        purchases.price_usd IS NULL AS is_reference_price
    FROM purchases LEFT JOIN reference_packs AS packs ON packs.pack_id = purchases.pack_id
    WHERE purchases.pack_id IS NOT NULL
),
by_pack AS (
    SELECT
        pack_id,
        count(price_usd) AS purchase_count,
        count(price_usd) FILTER (is_reference_price) AS reference_price_count,
        count(price_usd) FILTER (status = 'fulfilled') AS fulfilled_count,
        count(*) FILTER (status = 'fulfilled' AND price_usd IS NULL) AS unpriced_count,
        count(*) FILTER (status = 'fulfilled' AND price_usd = 0) AS free_count,
        coalesce(sum(pull_count) FILTER (price_usd IS NOT NULL), 0)::BIGINT AS pull_count,
        coalesce(sum(pull_count) FILTER (price_usd = 0), 0)::BIGINT AS free_pull_count,
        total(CASE WHEN price_usd = 0 THEN buyback_value_usd END) AS free_buyback_total_usd,
        total(CASE WHEN status = 'fulfilled' THEN price_usd END) AS fulfilled_price_usd
    FROM priced_purchases
    GROUP BY pack_id
    HAVING count(price_usd) > 0
),
-- The common base of all money figures: quoted pulls of sessions with a price above zero.
quotes AS (
    SELECT
        pack_id,
        buyback_price_usd,
        session_price_usd::DECIMAL(38,4) AS price,
        pulls_a_session,
        -- Compares quote and price per pull without division: exact at the bounds of the bands.
        buyback_price_usd::DECIMAL(38,4) * pulls_a_session AS quote_times_pulls,
        multiple(buyback_price_usd, pulls_a_session, session_price_usd) AS multiple,
        sum(pull_count)::BIGINT AS pulls,
        sum(session_count)::BIGINT AS sessions,
        sum(session_quotes) AS session_quotes,
        sum(session_quotes_squared) AS session_quotes_squared,
        sum(session_wins) AS session_wins,
        sum(session_ranks) AS session_ranks,
        sum(session_capped) AS session_capped,
        sum(session_capped_squared) AS session_capped_squared,
        sum(session_capped_times_quotes) AS session_capped_times_quotes
    FROM daily_quote_counts
    WHERE pack_id IS NOT NULL AND buyback_price_usd IS NOT NULL AND session_price_usd > 0
    GROUP BY pack_id, buyback_price_usd, session_price_usd, pulls_a_session
),
spent AS (
    SELECT pack_id, TRY_CAST(sum(price_of(pulls, price, pulls_a_session)) AS DECIMAL(18,4)) AS spend_usd
    FROM (
        SELECT pack_id, price, pulls_a_session, sum(pulls)::BIGINT AS pulls FROM quotes
        GROUP BY pack_id, price, pulls_a_session
    )
    GROUP BY pack_id
),
ranked AS (
    SELECT
        *,
        sum(pulls) OVER descending::BIGINT - pulls AS higher_count,
        sum_of(buyback_price_usd, pulls) OVER (PARTITION BY pack_id) AS total_usd,
        sum_of(buyback_price_usd, pulls) OVER descending - buyback_price_usd * pulls::DECIMAL(19,0) AS higher_usd,
        sum(pulls) OVER (PARTITION BY pack_id ORDER BY multiple ROWS UNBOUNDED PRECEDING)::BIGINT AS up_to,
        sum(pulls) OVER (PARTITION BY pack_id)::BIGINT AS total_count
    FROM quotes
    WINDOW descending AS (PARTITION BY pack_id ORDER BY buyback_price_usd DESC ROWS UNBOUNDED PRECEDING)
),
by_quote AS (
    SELECT
        pack_id,
        sum(pulls)::BIGINT AS quoted_pull_count,
        total_of(buyback_price_usd, pulls) AS buyback_total_usd,
        pulls_where(pulls, quote_times_pulls >= price) AS win_count,
        (min(multiple) FILTER (up_to >= (total_count + 1) // 2) + min(multiple) FILTER (up_to >= total_count // 2 + 1)) / 2
            AS multiple_median,
        -- Threads add doubles in any order; rounding makes the result repeatable.
        round(sum(multiple * pulls) / any_value(total_count), 9) AS multiple_mean,
        round(sum(capped(multiple) * pulls) / any_value(total_count), 9) AS multiple_mean_capped_5x,
        pulls_where(pulls, quote_times_pulls < price * 0.5) AS multiple_below_0_5_count,
        pulls_where(pulls, quote_times_pulls >= price * 0.5 AND quote_times_pulls < price) AS multiple_0_5_to_1_count,
        pulls_where(pulls, quote_times_pulls >= price AND quote_times_pulls < price * 2) AS multiple_1_to_2_count,
        pulls_where(pulls, quote_times_pulls >= price * 2 AND quote_times_pulls < price * 5) AS multiple_2_to_5_count,
        pulls_where(pulls, quote_times_pulls >= price * 5 AND quote_times_pulls < price * 20) AS multiple_5_to_20_count,
        pulls_where(pulls, quote_times_pulls >= price * 20) AS multiple_20_and_above_count,
        top_sum(buyback_price_usd, pulls, higher_count, 10) / nullif(sum_of(buyback_price_usd, pulls), 0) AS top_10_share,
        count_to_half(buyback_price_usd, pulls, higher_usd, total_usd) AS half_of_total_pull_count
    FROM ranked
    GROUP BY pack_id
),
-- The square of a session's sum is the sum, over its pulls, of the pull's value times the session's sum. The square of
-- its count of pulls up to the median is the sum, over these pulls, of 2 * rank - 1.
samples AS (
    SELECT
        pack_id,
        {
            'n': sum(sessions), 'm': sum(pulls), 'm2': sum(session_quotes), 'm3': sum(session_quotes_squared),
            'y': sum(capped(multiple) * pulls), 'y2': sum(capped(multiple) * session_capped),
            'y3': sum(capped(multiple) * session_capped_squared), 'ym': sum(capped(multiple) * session_quotes),
            'y2m': sum(capped(multiple) * session_capped_times_quotes),
            'ym2': sum(capped(multiple) * session_quotes_squared)
        } AS capped_sums,
        {
            'n': sum(sessions), 'm': sum(pulls), 'm2': sum(session_quotes),
            'y': coalesce(sum(pulls) FILTER (multiple <= multiple_median), 0),
            'y2': coalesce(sum(session_ranks) FILTER (multiple <= multiple_median), 0),
            'ym': coalesce(sum(session_quotes) FILTER (multiple <= multiple_median), 0)
        } AS up_to_median_sums,
        {
            'n': sum(sessions), 'm': sum(pulls), 'm2': sum(session_quotes),
            'y': pulls_where(pulls, quote_times_pulls >= price),
            'y2': coalesce(sum(session_wins) FILTER (quote_times_pulls >= price), 0),
            'ym': coalesce(sum(session_quotes) FILTER (quote_times_pulls >= price), 0)
        } AS win_sums
    FROM quotes JOIN by_quote USING (pack_id)
    GROUP BY pack_id
),
sized AS (
    SELECT
        *,
        with_a_jackpot(capped_sums) AS jackpot_sums,
        design_effect(win_sums) AS design,
        t_975(win_sums.n - 1) AS t,
        z_of_all(count(*) OVER ()) AS z_of_all
    FROM samples
),
with_quantiles AS (
    SELECT *, t_point(z_of_all, win_sums.n - 1) AS t_of_all FROM sized
),
intervals AS (
    SELECT
        pack_id,
        CASE WHEN are_enough_for_a_mean(capped_sums.n) THEN round(mean_low(capped_sums), 9) END AS capped_low,
        CASE WHEN are_enough_for_a_mean(capped_sums.n) THEN round(capped_mean_high(capped_sums, jackpot_sums), 9) END AS capped_high,
        CASE WHEN are_enough_for_a_median(capped_sums.n) THEN
            median_low_rank(capped_sums.m, clustered_error(up_to_median_sums)) END AS low_rank,
        clustered_low(win_sums, design, t) AS win_rate_low,
        clustered_high(win_sums, design, t) AS win_rate_high,
        clustered_low(win_sums, design, t_of_all) AS win_rate_low_of_all,
        clustered_high(win_sums, design, t_of_all) AS win_rate_high_of_all,
        -- Effective numbers of hits and pulls: as many independent ones would carry the same information.
        win_sums.y / design AS hits,
        win_sums.m / design AS weight
    FROM with_quantiles
),
-- Variance between packs beyond chance, by the moments of a beta-binomial distribution (Kleinman, 1973).
pooled AS (
    SELECT
        sum(hits) / sum(weight) AS mean,
        (sum(hits ^ 2 / weight) - sum(weight) * mean ^ 2 - (count(*) - 1) * mean * (1 - mean))
            / nullif(sum(weight) - sum(weight ^ 2) / sum(weight), 0) AS variance
    FROM intervals
    HAVING count(*) >= 10
),
shrunk AS (
    SELECT
        pack_id,
        CASE
            WHEN variance > 0 THEN
                (greatest(mean * (1 - mean) / variance - 1, 0) * mean + hits)
                / (greatest(mean * (1 - mean) / variance - 1, 0) + weight)
            ELSE mean
        END AS win_rate_shrunk
    FROM intervals CROSS JOIN pooled
),
median_bounds AS (
    SELECT
        pack_id,
        min(multiple) FILTER (up_to >= low_rank) AS median_low,
        min(multiple) FILTER (up_to >= ranked.total_count + 1 - low_rank) AS median_high
    FROM ranked JOIN intervals USING (pack_id)
    GROUP BY pack_id
)
SELECT
    by_pack.pack_id,
    purchase_count,
    fulfilled_count,
    pull_count,
    spend_usd,
    buyback_total_usd,
    buyback_total_usd / spend_usd AS return_ratio,
    win_count / quoted_pull_count AS win_rate,
    win_rate_low,
    win_rate_high,
    win_rate_low_of_all,
    win_rate_high_of_all,
    round(win_rate_shrunk, 12) AS win_rate_shrunk,
    CASE WHEN win_count IS NOT NULL THEN
        rank() OVER (ORDER BY coalesce(round(win_rate_shrunk, 12), win_count / quoted_pull_count) DESC NULLS LAST) END
        AS win_rate_rank,
    multiple_median,
    median_low AS multiple_median_low,
    median_high AS multiple_median_high,
    multiple_mean_capped_5x,
    capped_low AS multiple_mean_capped_5x_low,
    capped_high AS multiple_mean_capped_5x_high,
    multiple_mean,
    coalesce(quoted_pull_count, 0) AS quoted_pull_count,
    pull_count - free_pull_count - coalesce(quoted_pull_count, 0) AS unquoted_pull_count,
    (fulfilled_price_usd - coalesce(spend_usd, 0))::DECIMAL(18,4) AS unquoted_spend_usd,
    unpriced_count,
    free_count,
    free_pull_count,
    free_buyback_total_usd,
    half_of_total_pull_count,
    top_10_share,
    coalesce(multiple_below_0_5_count, 0) AS multiple_below_0_5_count,
    coalesce(multiple_0_5_to_1_count, 0) AS multiple_0_5_to_1_count,
    coalesce(multiple_1_to_2_count, 0) AS multiple_1_to_2_count,
    coalesce(multiple_2_to_5_count, 0) AS multiple_2_to_5_count,
    coalesce(multiple_5_to_20_count, 0) AS multiple_5_to_20_count,
    coalesce(multiple_20_and_above_count, 0) AS multiple_20_and_above_count,
    reference_price_count,
    packs.name AS pack_name,
    buyback_total_usd / spend_usd / packs.buyback_share AS return_ratio_at_market_value
FROM by_pack
LEFT JOIN by_quote ON by_quote.pack_id = by_pack.pack_id
LEFT JOIN spent ON spent.pack_id = by_pack.pack_id
LEFT JOIN intervals ON intervals.pack_id = by_pack.pack_id
LEFT JOIN shrunk ON shrunk.pack_id = by_pack.pack_id
LEFT JOIN median_bounds ON median_bounds.pack_id = by_pack.pack_id
LEFT JOIN reference_packs AS packs ON packs.pack_id = by_pack.pack_id
ORDER BY by_pack.pack_id
