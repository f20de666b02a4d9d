WITH priced_purchases AS (
    SELECT * FROM purchases WHERE pack_id IS NOT NULL AND price_usd IS NOT NULL
),
quoted AS (
    SELECT
        pulls.pack_id,
        buyback_price_usd,
        -- Quote against price per pull, without dividing: exact at the bounds of the bands.
        buyback_price_usd::DECIMAL(38,4) * pull_count AS quote_times_pulls,
        buyback_price_usd::DOUBLE * pull_count / nullif(purchases.price_usd, 0)::DOUBLE AS multiple,
        purchases.price_usd::DECIMAL(38,4) AS price,
        row_number() OVER (PARTITION BY pulls.pack_id ORDER BY buyback_price_usd DESC) AS price_rank
    FROM pulls
    JOIN priced_purchases AS purchases USING (session_id)
    WHERE buyback_price_usd IS NOT NULL
),
by_pack AS (
    SELECT
        pack_id,
        count(*) AS purchase_count,
        count(*) FILTER (status = 'fulfilled') AS fulfilled_count,
        coalesce(sum(pull_count), 0)::BIGINT AS pull_count,
        total(CASE WHEN status = 'fulfilled' THEN price_usd END) AS spend_usd
    FROM priced_purchases
    GROUP BY pack_id
),
by_quote AS (
    SELECT
        pack_id,
        count(*) AS quoted_count,
        total(buyback_price_usd) AS buyback_total_usd,
        count(*) FILTER (quote_times_pulls >= price) AS win_count,
        median(multiple) AS multiple_median,
        avg(multiple) AS multiple_mean,
        avg(least(multiple, 5)) AS multiple_mean_capped_5x,
        count(*) FILTER (quote_times_pulls < price * 0.5) AS multiple_below_0_5_count,
        count(*) FILTER (quote_times_pulls >= price * 0.5 AND quote_times_pulls < price) AS multiple_0_5_to_1_count,
        count(*) FILTER (quote_times_pulls >= price AND quote_times_pulls < price * 2) AS multiple_1_to_2_count,
        count(*) FILTER (quote_times_pulls >= price * 2 AND quote_times_pulls < price * 5) AS multiple_2_to_5_count,
        count(*) FILTER (quote_times_pulls >= price * 5 AND quote_times_pulls < price * 20) AS multiple_5_to_20_count,
        -- A free pack has no multiples.
        count(*) FILTER (quote_times_pulls >= price * 20 AND price > 0) AS multiple_20_and_above_count,
        sum(buyback_price_usd) FILTER (price_rank <= 10) / nullif(sum(buyback_price_usd), 0) AS top_10_share
    FROM quoted
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
    win_count / quoted_count AS win_rate,
    wilson_low(win_count, quoted_count) AS win_rate_low,
    wilson_high(win_count, quoted_count) AS win_rate_high,
    multiple_median,
    multiple_mean,
    multiple_mean_capped_5x,
    coalesce(multiple_below_0_5_count, 0) AS multiple_below_0_5_count,
    coalesce(multiple_0_5_to_1_count, 0) AS multiple_0_5_to_1_count,
    coalesce(multiple_1_to_2_count, 0) AS multiple_1_to_2_count,
    coalesce(multiple_2_to_5_count, 0) AS multiple_2_to_5_count,
    coalesce(multiple_5_to_20_count, 0) AS multiple_5_to_20_count,
    coalesce(multiple_20_and_above_count, 0) AS multiple_20_and_above_count,
    top_10_share
FROM by_pack LEFT JOIN by_quote ON by_quote.pack_id = by_pack.pack_id
ORDER BY by_pack.pack_id
