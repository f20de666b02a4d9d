-- The day's pulls, those that are alike in one row. Marts sum the rows of all days: what a run has to read of the past
-- is how many kinds of pulls there were, not how many pulls.
WITH unpriced AS (
    SELECT session_id, pulls.resolved_at
    FROM pulls JOIN reference_packs AS packs ON packs.pack_id = pulls.pack_id
    WHERE pulls.price_usd IS NULL AND packs.price_usd IS NOT NULL AND pull_number = 1
),
-- Only where the reference's price stands in it matters how many packs were bought.
quantities AS (
    SELECT purchases.session_id, quantity
    FROM unpriced JOIN purchases ON purchases.session_id = unpriced.session_id
        AND purchases.resolved_at = unpriced.resolved_at
    WHERE quantity IS NOT NULL
),
counted AS (
    SELECT
        pulls.session_id,
        utc_day(pulled_at) AS pulled_date,
        pack_id,
        coalesce(item_type, 'unknown') AS item_type,
        price_usd,
        buyback_price_usd,
        is_on_chain,
        count(*) OVER session AS session_pull_count,
        count(buyback_price_usd) OVER session AS session_quote_count,
        row_number() OVER (session ORDER BY buyback_price_usd NULLS LAST) AS quote_rank
    FROM pulls
    WINDOW session AS (PARTITION BY pulls.session_id)
),
priced AS (
    SELECT
        counted.*,
        session_price(counted.price_usd, packs.price_usd, quantity, session_pull_count) AS session_price_usd,
        multiple(buyback_price_usd, session_pull_count, session_price_usd) AS multiple
    FROM counted
    LEFT JOIN reference_packs AS packs ON packs.pack_id = counted.pack_id
    LEFT JOIN quantities ON quantities.session_id = counted.session_id
),
summed AS (
    SELECT
        *,
        sum(capped(multiple)) OVER session AS capped_sum,
        count(*) FILTER (is_win(buyback_price_usd, session_pull_count, session_price_usd)) OVER session AS win_sum
    FROM priced
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
    sum(capped_sum * capped_sum) FILTER (multiple IS NOT NULL) AS session_capped_squared,
    sum(capped_sum * session_quote_count) FILTER (multiple IS NOT NULL) AS session_capped_times_quotes
FROM summed
GROUP BY ALL
ORDER BY pulled_date, pack_id NULLS FIRST, item_type, session_price_usd NULLS FIRST, pulls_a_session NULLS FIRST,
    buyback_price_usd NULLS FIRST
