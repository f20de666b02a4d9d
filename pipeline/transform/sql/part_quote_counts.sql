-- The part's pulls, grouped by equal values. Capped multiples are small, so decimals sum them to the same bits in every
-- build; a sum of floating-point numbers depends on their order.
WITH counted AS (
    SELECT
        session_id,
        pull_number,
        pulled_date,
        pack_id,
        coalesce(item_type, 'unknown') AS item_type,
        CASE WHEN pack_id IS NOT NULL THEN session_price_usd END AS session_price_usd,
        CASE WHEN pack_id IS NOT NULL THEN multiple END AS multiple,
        buyback_price_usd,
        is_on_chain,
        count(*) OVER session AS session_pull_count,
        count(buyback_price_usd) OVER session AS session_quote_count,
        row_number() OVER (session ORDER BY buyback_price_usd NULLS LAST, pull_number) AS quote_rank
    FROM pulls
    WINDOW session AS (PARTITION BY session_id)
),
summed AS (
    SELECT
        *,
        sum(capped(multiple)::DECIMAL(38, 15)) OVER session AS capped_sum,
        count(*) FILTER (is_win(buyback_price_usd, session_pull_count, session_price_usd)) OVER session AS win_sum
    FROM counted
    WINDOW session AS (PARTITION BY session_id)
)
SELECT
    pulled_date,
    pack_id,
    item_type,
    session_price_usd,
    CASE WHEN session_price_usd IS NOT NULL THEN session_pull_count END AS pulls_a_session,
    buyback_price_usd,
    count(*) AS pull_count,
    count(*) FILTER (is_on_chain) AS on_chain_count,
    count(*) FILTER (multiple IS NOT NULL AND quote_rank = 1) AS session_count,
    sum(session_quote_count) FILTER (multiple IS NOT NULL)::BIGINT AS session_quotes,
    sum(session_quote_count * session_quote_count) FILTER (multiple IS NOT NULL)::BIGINT AS session_quotes_squared,
    sum(win_sum) FILTER (multiple IS NOT NULL)::BIGINT AS session_wins,
    sum(2 * quote_rank - 1) FILTER (multiple IS NOT NULL)::BIGINT AS session_ranks,
    sum(capped_sum) FILTER (multiple IS NOT NULL) AS session_capped,
    sum((capped_sum::DOUBLE * capped_sum::DOUBLE)::DECIMAL(38, 15)) FILTER (multiple IS NOT NULL) AS session_capped_squared,
    sum((capped_sum::DOUBLE * session_quote_count)::DECIMAL(38, 15)) FILTER (multiple IS NOT NULL) AS session_capped_times_quotes
FROM summed
GROUP BY ALL
ORDER BY pulled_date, pack_id NULLS FIRST, item_type, session_price_usd NULLS FIRST, pulls_a_session NULLS FIRST,
    buyback_price_usd NULLS FIRST
