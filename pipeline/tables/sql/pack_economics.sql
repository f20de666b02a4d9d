WITH priced_purchases AS (
    SELECT
        session_id,
        purchases.pack_id,
        status,
        pull_count,
        session_price(purchases.price_usd, packs.price_usd, quantity, pull_count) AS price_usd,
        purchases.price_usd IS NULL AS is_reference_price
    FROM purchases LEFT JOIN reference_packs AS packs ON packs.pack_id = purchases.pack_id
    WHERE purchases.pack_id IS NOT NULL
        AND session_price(purchases.price_usd, packs.price_usd, quantity, pull_count) IS NOT NULL
),
quotes AS (
    SELECT
        session_id,
        pulls.pack_id,
        buyback_price_usd,
        -- Quote against price per pull, without dividing: exact at the bounds of the bands.
        buyback_price_usd::DECIMAL(38,4) * pull_count AS quote_times_pulls,
        buyback_price_usd::DOUBLE * pull_count / nullif(purchases.price_usd, 0)::DOUBLE AS multiple,
        purchases.price_usd::DECIMAL(38,4) AS price
    FROM pulls
    JOIN priced_purchases AS purchases USING (session_id)
    WHERE buyback_price_usd IS NOT NULL
),
ranked AS (
    SELECT
        *,
        row_number() OVER dearest AS price_rank,
        sum(buyback_price_usd) OVER dearest AS running_usd,
        sum(buyback_price_usd) OVER (PARTITION BY pack_id) AS total_usd,
        row_number() OVER (PARTITION BY pack_id ORDER BY multiple NULLS LAST) AS multiple_rank,
        count(multiple) OVER (PARTITION BY pack_id) AS multiple_count
    FROM quotes
    WINDOW dearest AS (PARTITION BY pack_id ORDER BY buyback_price_usd DESC ROWS UNBOUNDED PRECEDING)
),
by_pack AS (
    SELECT
        pack_id,
        count(*) AS purchase_count,
        count(*) FILTER (is_reference_price) AS reference_price_count,
        count(*) FILTER (status = 'fulfilled') AS fulfilled_count,
        coalesce(sum(pull_count), 0)::BIGINT AS pull_count,
        total(CASE WHEN status = 'fulfilled' THEN price_usd END) AS spend_usd
    FROM priced_purchases
    GROUP BY pack_id
),
by_quote AS (
    SELECT
        pack_id,
        count(*) AS quoted_pull_count,
        total(buyback_price_usd) AS buyback_total_usd,
        count(*) FILTER (quote_times_pulls >= price) AS win_count,
        avg(multiple) FILTER (multiple_rank IN ((multiple_count + 1) // 2, multiple_count // 2 + 1)) AS multiple_median,
        -- Threads add doubles in any order; rounded, the result is the same each time.
        round(avg(multiple), 9) AS multiple_mean,
        round(avg(least(multiple, 5)), 9) AS multiple_mean_capped_5x,
        count(*) FILTER (quote_times_pulls < price * 0.5) AS multiple_below_0_5_count,
        count(*) FILTER (quote_times_pulls >= price * 0.5 AND quote_times_pulls < price) AS multiple_0_5_to_1_count,
        count(*) FILTER (quote_times_pulls >= price AND quote_times_pulls < price * 2) AS multiple_1_to_2_count,
        count(*) FILTER (quote_times_pulls >= price * 2 AND quote_times_pulls < price * 5) AS multiple_2_to_5_count,
        count(*) FILTER (quote_times_pulls >= price * 5 AND quote_times_pulls < price * 20) AS multiple_5_to_20_count,
        -- A free pack has no multiples.
        count(*) FILTER (quote_times_pulls >= price * 20 AND price > 0) AS multiple_20_and_above_count,
        sum(buyback_price_usd) FILTER (price_rank <= 10) / nullif(sum(buyback_price_usd), 0) AS top_10_share,
        count_to_half(buyback_price_usd, running_usd, total_usd) AS half_of_total_pull_count
    FROM ranked
    GROUP BY pack_id
),
by_session AS (
    SELECT
        pack_id,
        count(multiple) AS pull_count,
        sum(least(multiple, 5)) AS capped_sum,
        count(*) FILTER (multiple <= multiple_median) AS up_to_median_count
    FROM quotes JOIN by_quote USING (pack_id)
    WHERE multiple IS NOT NULL
    GROUP BY pack_id, session_id
),
intervals AS (
    SELECT
        pack_id,
        sum(pull_count) AS multiple_count,
        round(mean_low(capped_sum, pull_count), 9) AS capped_low,
        round(mean_high(capped_sum, pull_count), 9) AS capped_high,
        median_low_rank(sum(pull_count), clustered_error(up_to_median_count, pull_count)) AS low_rank
    FROM by_session
    GROUP BY pack_id
    HAVING are_enough(count(*))
),
median_bounds AS (
    SELECT
        pack_id,
        min(multiple) FILTER (multiple_rank = low_rank) AS median_low,
        min(multiple) FILTER (multiple_rank = ranked.multiple_count + 1 - low_rank) AS median_high
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
    buyback_total_usd / nullif(spend_usd, 0) AS return_ratio,
    win_count / quoted_pull_count AS win_rate,
    wilson_low(win_count, quoted_pull_count) AS win_rate_low,
    wilson_high(win_count, quoted_pull_count) AS win_rate_high,
    multiple_median,
    median_low AS multiple_median_low,
    median_high AS multiple_median_high,
    multiple_mean_capped_5x,
    capped_low AS multiple_mean_capped_5x_low,
    capped_high AS multiple_mean_capped_5x_high,
    multiple_mean,
    coalesce(quoted_pull_count, 0) AS quoted_pull_count,
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
    buyback_total_usd / nullif(spend_usd, 0) / packs.buyback_share AS return_ratio_at_market_value
FROM by_pack
LEFT JOIN by_quote ON by_quote.pack_id = by_pack.pack_id
LEFT JOIN intervals ON intervals.pack_id = by_pack.pack_id
LEFT JOIN median_bounds ON median_bounds.pack_id = by_pack.pack_id
LEFT JOIN reference_packs AS packs ON packs.pack_id = by_pack.pack_id
ORDER BY by_pack.pack_id
