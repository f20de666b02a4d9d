SELECT
    pack_id,
    any_value(name ORDER BY row_number) FILTER (rejected_reason IS NULL) AS name,
    any_value(price_usd ORDER BY row_number) FILTER (rejected_reason IS NULL) AS price_usd,
    CASE WHEN count(DISTINCT buyback_share) FILTER (rejected_reason IS NULL) = 1 THEN
        any_value(buyback_share) FILTER (rejected_reason IS NULL) END AS buyback_share,
    -- A rejected row without a pack may be a tier of any pack.
    count(tier) > 0 AND count(rejected_reason) = 0
        AND (SELECT count(*) FROM reference_pack_rows WHERE pack_id IS NULL) = 0 AS has_whole_tiers
FROM reference_pack_rows
WHERE pack_id IS NOT NULL
GROUP BY pack_id
ORDER BY pack_id
