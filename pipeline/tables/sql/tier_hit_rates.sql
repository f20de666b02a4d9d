WITH tiers AS (
    SELECT
        tiers.pack_id,
        packs.name AS pack_name,
        tier,
        fmv_low_usd,
        fmv_high_usd,
        packs.buyback_share,
        quote_at(fmv_low_usd, packs.buyback_share) AS quote_low_usd,
        quote_at(fmv_high_usd, packs.buyback_share) AS quote_high_usd,
        weight / nullif(sum(weight) OVER (PARTITION BY tiers.pack_id), 0) AS published_share
    FROM reference_pack_rows AS tiers
    JOIN reference_packs AS packs ON packs.pack_id = tiers.pack_id
    WHERE tier IS NOT NULL AND has_whole_tiers
),
quotes AS (
    SELECT pack_id, buyback_price_usd, sum(pull_count)::BIGINT AS pull_count
    FROM quote_days
    WHERE buyback_price_usd IS NOT NULL AND pack_id IN (SELECT pack_id FROM tiers WHERE buyback_share IS NOT NULL)
    GROUP BY pack_id, buyback_price_usd
),
hits AS (
    SELECT quotes.pack_id, tier, sum(pull_count)::BIGINT AS hit_count
    FROM quotes LEFT JOIN tiers ON tiers.pack_id = quotes.pack_id
        AND buyback_price_usd >= quote_low_usd
        AND (quote_high_usd IS NULL OR buyback_price_usd < quote_high_usd)
    GROUP BY quotes.pack_id, tier
),
counted AS (
    SELECT
        tiers.*,
        CASE WHEN buyback_share IS NOT NULL THEN coalesce(hit_count, 0) END AS hit_count,
        CASE WHEN buyback_share IS NOT NULL THEN
            coalesce(sum(hit_count) OVER (PARTITION BY tiers.pack_id), 0) END::BIGINT AS pull_count
    FROM tiers LEFT JOIN hits ON hits.pack_id = tiers.pack_id AND hits.tier = tiers.tier
),
tested AS (
    SELECT
        *,
        CASE WHEN pull_count > 0 THEN binomial_p_value(hit_count, pull_count, published_share) END AS p_value
    FROM counted
),
-- Holm (1979): the smallest p-value is multiplied by the number of tests, the next by one less, and so on.
stepped AS (
    SELECT
        *,
        p_value * (count(p_value) OVER () + 1 - row_number() OVER (ORDER BY p_value NULLS LAST, pack_id, tier)) AS step
    FROM tested
),
corrected AS (
    SELECT
        *,
        least(1, max(step) OVER (ORDER BY p_value NULLS LAST, pack_id, tier ROWS UNBOUNDED PRECEDING)) AS p_value_holm
    FROM stepped
)
SELECT
    pack_id,
    tier,
    pack_name,
    fmv_low_usd,
    fmv_high_usd,
    pull_count,
    hit_count,
    hit_count / nullif(pull_count, 0) AS hit_rate,
    wilson_low(hit_count, pull_count) AS hit_rate_low,
    wilson_high(hit_count, pull_count) AS hit_rate_high,
    published_share,
    pull_count * published_share AS expected_hit_count,
    p_value,
    CASE WHEN p_value IS NOT NULL THEN p_value_holm END AS p_value_holm
FROM corrected
UNION ALL
SELECT
    pack_id, NULL, packs.name, NULL, NULL, pull_count, hit_count, hit_count / pull_count,
    wilson_low(hit_count, pull_count), wilson_high(hit_count, pull_count), NULL, NULL, NULL, NULL
FROM (
    SELECT pack_id, sum(hit_count)::BIGINT AS pull_count, coalesce(sum(hit_count) FILTER (tier IS NULL), 0)::BIGINT AS hit_count
    FROM hits
    GROUP BY pack_id
)
JOIN reference_packs AS packs USING (pack_id)
ORDER BY pack_id, fmv_low_usd NULLS LAST
