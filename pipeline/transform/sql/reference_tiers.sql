WITH versions AS (
    SELECT
        reference_pack_rows.pack_id,
        valid_from,
        coalesce(any_value(reference_pack_rows.buyback_share), any_value(packs.buyback_share)) AS buyback_share,
        lead(valid_from) OVER (PARTITION BY reference_pack_rows.pack_id ORDER BY valid_from NULLS FIRST) AS valid_until
    FROM reference_pack_rows JOIN reference_packs AS packs ON packs.pack_id = reference_pack_rows.pack_id
    WHERE has_whole_tiers
    GROUP BY reference_pack_rows.pack_id, valid_from
    HAVING count(tier) > 0
)
SELECT
    tiers.pack_id,
    tiers.valid_from,
    count(fmv_low_usd) OVER version AS tier_number,
    valid_until,
    tier,
    fmv_low_usd,
    fmv_high_usd,
    versions.buyback_share,
    quote_at(fmv_low_usd, versions.buyback_share) AS quote_low_usd,
    quote_at(fmv_high_usd, versions.buyback_share) AS quote_high_usd,
    weight / nullif(sum(weight) OVER (PARTITION BY tiers.pack_id, tiers.valid_from), 0) AS published_share
FROM reference_pack_rows AS tiers
JOIN versions ON versions.pack_id = tiers.pack_id AND versions.valid_from IS NOT DISTINCT FROM tiers.valid_from
WHERE tier IS NOT NULL
WINDOW version AS (PARTITION BY tiers.pack_id, tiers.valid_from ORDER BY fmv_low_usd ROWS UNBOUNDED PRECEDING)
ORDER BY tiers.pack_id, tiers.valid_from NULLS FIRST, tier_number
