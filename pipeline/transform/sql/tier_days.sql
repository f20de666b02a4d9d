-- The part's sessions, grouped by the tiers that their quoted pulls hit.
WITH placed AS (
    SELECT pulls.session_id, pulls.pack_id, valid_from, buyback_price_usd
    FROM pulls JOIN (SELECT DISTINCT pack_id, valid_from, valid_until FROM reference_tiers WHERE buyback_share IS NOT NULL)
        AS versions ON versions.pack_id = pulls.pack_id
    WHERE buyback_price_usd IS NOT NULL
        AND (valid_from IS NULL OR utc_day(pulled_at) >= valid_from)
        AND (valid_until IS NULL OR utc_day(pulled_at) < valid_until)
),
sessions AS (
    SELECT session_id, placed.pack_id, placed.valid_from,
        list(coalesce(tier_number, 0) ORDER BY coalesce(tier_number, 0)) AS tier_numbers
    FROM placed LEFT JOIN reference_tiers AS tiers ON tiers.pack_id = placed.pack_id
        AND coalesce(tiers.valid_from, DATE '-infinity') = coalesce(placed.valid_from, DATE '-infinity')
        AND buyback_price_usd >= quote_low_usd
        AND (quote_high_usd IS NULL OR buyback_price_usd < quote_high_usd)
    GROUP BY session_id, placed.pack_id, placed.valid_from
)
SELECT
    (SELECT utc_day(min(resolved_at)) FROM pulls) AS answered_date,
    pack_id,
    valid_from,
    tier_numbers,
    count(*) AS session_count
FROM sessions
GROUP BY pack_id, valid_from, tier_numbers
ORDER BY pack_id, valid_from NULLS FIRST, tier_numbers
