-- The figures of each group of the selected pulls, by the rules of `pack_economics` and with its macros. Values are counted
-- in bins, and only the bins of a median or of a bound are sorted.
WITH selected AS MATERIALIZED (
    SELECT {{ group }} AS group_value, session_number, pulls_a_session, buyback_price_usd, session_price_usd, multiple, capped,
        is_win, multiple_bin, quote_bin
    FROM explored.pulls
    WHERE {{ condition }}
),
bins AS MATERIALIZED (
    SELECT
        *,
        sum(pulls) OVER (PARTITION BY group_value, measure ORDER BY bin ROWS UNBOUNDED PRECEDING)::BIGINT AS up_to,
        sum(pulls) OVER (PARTITION BY group_value, measure)::BIGINT AS value_count
    FROM (
        SELECT group_value, 'quote' AS measure, quote_bin AS bin, count(*) AS pulls
        FROM selected WHERE buyback_price_usd IS NOT NULL GROUP BY ALL
        UNION ALL
        SELECT group_value, 'multiple', multiple_bin, count(*) FROM selected WHERE multiple IS NOT NULL GROUP BY ALL
    )
),
middle AS (
    SELECT DISTINCT group_value, measure, unnest([(value_count + 1) // 2, value_count // 2 + 1]) AS rank FROM bins
),
{{ values_at middle }},
medians AS MATERIALIZED (
    SELECT group_value, avg(value) FILTER (measure = 'quote') AS quote_median,
        avg(value) FILTER (measure = 'multiple') AS multiple_median
    FROM values_at_middle GROUP BY group_value
),
-- Counts are doubles, whose sums and products are exact here and quick.
measured AS (
    SELECT
        selected.group_value,
        session_number,
        pulls_a_session,
        (buyback_price_usd IS NOT NULL)::DOUBLE AS quotes,
        coalesce(buyback_price_usd::DOUBLE <= quote_median, false)::DOUBLE AS quotes_up_to_median,
        (multiple IS NOT NULL)::DOUBLE AS pulls,
        coalesce(multiple <= multiple_median, false)::DOUBLE AS pulls_up_to_median,
        is_win::DOUBLE AS wins,
        capped
    FROM selected JOIN medians ON medians.group_value IS NOT DISTINCT FROM selected.group_value
),
-- Most sessions have one pull, and need no grouping.
sessions AS MATERIALIZED (
    SELECT group_value, quotes, quotes_up_to_median, pulls, pulls_up_to_median, wins, capped
    FROM measured WHERE pulls_a_session = 1
    UNION ALL
    SELECT group_value, sum(quotes), sum(quotes_up_to_median), sum(pulls), sum(pulls_up_to_median), sum(wins), sum(capped)
    FROM measured WHERE pulls_a_session > 1 GROUP BY group_value, session_number
),
quote_sums AS (
    SELECT group_value, session_sums(quotes_up_to_median, quotes) AS sums FROM sessions WHERE quotes > 0 GROUP BY group_value
),
sums AS MATERIALIZED (
    SELECT group_value, sum(pulls)::BIGINT AS quoted_pull_count, sum(wins)::BIGINT AS win_count,
        session_sums(pulls_up_to_median, pulls) AS median_sums,
        session_sums(wins, pulls) AS win_sums,
        session_sums(capped, pulls) AS capped_sums
    FROM sessions WHERE pulls > 0 GROUP BY group_value
),
low_ranks AS (
    SELECT group_value, measure,
        CASE WHEN are_enough_for_a_median(sums.n) THEN median_low_rank(sums.m, clustered_error(sums)) END AS low_rank
    FROM (
        SELECT group_value, 'quote' AS measure, sums FROM quote_sums
        UNION ALL
        SELECT group_value, 'multiple', median_sums FROM sums
    )
),
bounds AS (
    SELECT DISTINCT bins.group_value, bins.measure, unnest([low_rank, value_count + 1 - low_rank]) AS rank
    FROM bins JOIN low_ranks
        ON low_ranks.group_value IS NOT DISTINCT FROM bins.group_value AND low_ranks.measure = bins.measure
    WHERE low_rank IS NOT NULL
),
{{ values_at bounds }},
intervals AS (
    SELECT group_value,
        min(value) FILTER (measure = 'quote') AS quote_low, max(value) FILTER (measure = 'quote') AS quote_high,
        min(value) FILTER (measure = 'multiple') AS multiple_low, max(value) FILTER (measure = 'multiple') AS multiple_high
    FROM values_at_bounds GROUP BY group_value
),
sized AS (
    SELECT *, with_a_jackpot(capped_sums) AS jackpot_sums, design_effect(win_sums) AS design, t_975(win_sums.n - 1) AS t FROM sums
),
shares AS (
    SELECT
        *,
        clustered_low(win_sums, design, t) AS win_rate_low,
        clustered_high(win_sums, design, t) AS win_rate_high,
        CASE WHEN are_enough_for_a_mean(capped_sums.n) THEN round(mean_low(capped_sums), 9) END AS capped_low,
        CASE WHEN are_enough_for_a_mean(capped_sums.n) THEN round(capped_mean_high(capped_sums, jackpot_sums), 9) END AS capped_high
    FROM sized
),
priced AS MATERIALIZED (
    SELECT group_value, session_price_usd, pulls_a_session, multiple IS NOT NULL AS has_multiple, count(*) AS pulls,
        count(buyback_price_usd) AS quotes, sum(buyback_price_usd) AS quoted_usd
    FROM selected GROUP BY ALL
),
spent AS (
    SELECT group_value, total(quoted_usd) AS quoted_usd,
        total(price_of(pulls, session_price_usd::DECIMAL(38,4), pulls_a_session)) AS spend_usd
    FROM priced WHERE has_multiple
    GROUP BY group_value
),
counts AS (
    SELECT group_value, sum(pulls)::BIGINT AS pull_count, sum(quotes)::BIGINT AS priced_pull_count,
        total(quoted_usd) AS buyback_total_usd
    FROM priced GROUP BY group_value
)
SELECT
    counts.group_value,
    pull_count,
    priced_pull_count,
    buyback_total_usd,
    round(quote_median, 4)::DECIMAL(18,4) AS buyback_median_usd,
    quote_low::DECIMAL(18,4) AS buyback_median_low_usd,
    quote_high::DECIMAL(18,4) AS buyback_median_high_usd,
    coalesce(quoted_pull_count, 0) AS quoted_pull_count,
    coalesce(win_sums.n, 0)::BIGINT AS quoted_session_count,
    spend_usd,
    quoted_usd / nullif(spend_usd, 0) AS return_ratio,
    win_count / nullif(quoted_pull_count, 0) AS win_rate,
    win_rate_low,
    win_rate_high,
    multiple_median,
    multiple_low AS multiple_median_low,
    multiple_high AS multiple_median_high,
    round(ratio_mean(capped_sums), 9) AS multiple_mean_capped_5x,
    capped_low AS multiple_mean_capped_5x_low,
    capped_high AS multiple_mean_capped_5x_high
FROM counts
LEFT JOIN medians ON medians.group_value IS NOT DISTINCT FROM counts.group_value
LEFT JOIN intervals ON intervals.group_value IS NOT DISTINCT FROM counts.group_value
LEFT JOIN shares ON shares.group_value IS NOT DISTINCT FROM counts.group_value
LEFT JOIN spent ON spent.group_value IS NOT DISTINCT FROM counts.group_value
