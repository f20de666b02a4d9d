-- Marts roll up the rows of all days, so a run reads one row per combination of values and day, not one per pull.
SELECT
    pulled_date,
    pack_id,
    item_type,
    session_price_usd,
    pulls_a_session,
    buyback_price_usd,
    sum(pull_count)::BIGINT AS pull_count,
    sum(on_chain_count)::BIGINT AS on_chain_count,
    sum(session_count)::BIGINT AS session_count,
    sum(session_quotes)::BIGINT AS session_quotes,
    sum(session_quotes_squared)::BIGINT AS session_quotes_squared,
    sum(session_wins)::BIGINT AS session_wins,
    sum(session_ranks)::BIGINT AS session_ranks,
    sum(session_capped)::DOUBLE AS session_capped,
    sum(session_capped_squared)::DOUBLE AS session_capped_squared,
    sum(session_capped_times_quotes)::DOUBLE AS session_capped_times_quotes
FROM part_quote_counts
GROUP BY ALL
ORDER BY pulled_date, pack_id NULLS FIRST, item_type, session_price_usd NULLS FIRST, pulls_a_session NULLS FIRST,
    buyback_price_usd NULLS FIRST
