WITH kinds AS (
    SELECT *, len(tier_numbers) AS quoted, len(list_filter(tier_numbers, lambda x: x > 0)) AS in_tiers FROM tier_days
),
days AS (
    SELECT
        tiers.pack_id,
        tiers.valid_from,
        tier_number,
        published_share,
        answered_date,
        in_tiers AS pulls,
        len(list_filter(tier_numbers, lambda x: x = tier_number)) AS hits,
        sum(session_count)::BIGINT AS sessions
    FROM reference_tiers AS tiers JOIN kinds ON kinds.pack_id = tiers.pack_id
        AND coalesce(kinds.valid_from, DATE '-infinity') = coalesce(tiers.valid_from, DATE '-infinity')
    WHERE in_tiers > 0
    GROUP BY tiers.pack_id, tiers.valid_from, tier_number, published_share, answered_date, pulls, hits
),
sums AS (
    SELECT *, design_effect(s) AS design, t_975(s.n - 1) AS t
    FROM (
        SELECT pack_id, valid_from, tier_number, weighted_sums(hits, pulls, sessions) AS s
        FROM days
        GROUP BY pack_id, valid_from, tier_number
    )
),
-- Pulls and hits before each day, and those of single-pull sessions up to it.
by_day AS (
    SELECT
        *,
        coalesce(sum(day_pulls) OVER before, 0) AS former_pulls,
        coalesce(sum(day_hits) OVER before, 0) AS former_hits,
        sum(lone_pulls) OVER up_to AS all_lone_pulls,
        sum(lone_hits) OVER up_to AS all_lone_hits
    FROM (
        SELECT
            pack_id, valid_from, tier_number, published_share, answered_date,
            sum(pulls * sessions) AS day_pulls,
            sum(hits * sessions) AS day_hits,
            coalesce(sum(sessions) FILTER (pulls = 1), 0) AS lone_pulls,
            coalesce(sum(hits * sessions) FILTER (pulls = 1), 0) AS lone_hits
        FROM days
        WHERE published_share > 0 AND published_share < 1
        GROUP BY pack_id, valid_from, tier_number, published_share, answered_date
    )
    WINDOW
        before AS (PARTITION BY pack_id, valid_from, tier_number ORDER BY answered_date
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
        up_to AS (PARTITION BY pack_id, valid_from, tier_number ORDER BY answered_date ROWS UNBOUNDED PRECEDING)
),
larger_sessions AS (
    SELECT
        days.pack_id, days.valid_from, days.tier_number, days.answered_date,
        sum(sessions * session_evidence_log(
            hits, pulls, days.published_share, predicted_share(former_hits, former_pulls, days.published_share))) AS day_log
    FROM days JOIN by_day ON by_day.pack_id = days.pack_id AND by_day.valid_from IS NOT DISTINCT FROM days.valid_from
        AND by_day.tier_number = days.tier_number AND by_day.answered_date = days.answered_date
    WHERE pulls > 1
    GROUP BY days.pack_id, days.valid_from, days.tier_number, days.answered_date
),
evidence AS (
    SELECT pack_id, valid_from, tier_number, exp(-greatest(0, max(log))) AS p_any_time
    FROM (
        SELECT
            by_day.pack_id, by_day.valid_from, by_day.tier_number,
            evidence_log(all_lone_hits, all_lone_pulls, published_share) + coalesce(sum(day_log) OVER (
                PARTITION BY by_day.pack_id, by_day.valid_from, by_day.tier_number
                ORDER BY by_day.answered_date ROWS UNBOUNDED PRECEDING), 0) AS log
        FROM by_day LEFT JOIN larger_sessions AS larger ON larger.pack_id = by_day.pack_id
            AND larger.valid_from IS NOT DISTINCT FROM by_day.valid_from
            AND larger.tier_number = by_day.tier_number AND larger.answered_date = by_day.answered_date
    )
    GROUP BY pack_id, valid_from, tier_number
),
outside AS (
    SELECT pack_id, valid_from, s, clustered_low(s, design, t) AS share_low, clustered_high(s, design, t) AS share_high
    FROM (
        SELECT *, design_effect(s) AS design, t_975(s.n - 1) AS t
        FROM (
            SELECT pack_id, valid_from, weighted_sums(quoted - in_tiers, quoted, session_count) AS s
            FROM kinds
            GROUP BY pack_id, valid_from
        )
    )
),
counted AS (
    SELECT
        tiers.*,
        packs.name AS pack_name,
        sums.s,
        design,
        t,
        CASE WHEN tiers.buyback_share IS NOT NULL THEN coalesce(sums.s.y, 0)::BIGINT END AS hit_count,
        CASE WHEN tiers.buyback_share IS NOT NULL THEN coalesce(sums.s.m, 0)::BIGINT END AS pull_count,
        coalesce(lies_outside(outside.share_low), false) AS is_doubtful,
        p_any_time
    FROM reference_tiers AS tiers
    JOIN reference_packs AS packs ON packs.pack_id = tiers.pack_id
    LEFT JOIN sums ON sums.pack_id = tiers.pack_id AND sums.valid_from IS NOT DISTINCT FROM tiers.valid_from
        AND sums.tier_number = tiers.tier_number
    LEFT JOIN outside ON outside.pack_id = tiers.pack_id AND outside.valid_from IS NOT DISTINCT FROM tiers.valid_from
    LEFT JOIN evidence ON evidence.pack_id = tiers.pack_id AND evidence.valid_from IS NOT DISTINCT FROM tiers.valid_from
        AND evidence.tier_number = tiers.tier_number
),
tested AS (
    SELECT
        * EXCLUDE (p_any_time),
        CASE WHEN pull_count > 0 AND NOT is_doubtful THEN binomial_p_value(hit_count, pull_count, published_share) END
            AS p_value,
        CASE
            WHEN p_value IS NULL THEN NULL
            -- A single pull refutes a published share of 0 or 1.
            WHEN published_share <= 0 OR published_share >= 1 THEN p_value
            ELSE p_any_time
        END AS p_any_time
    FROM counted
),
-- Holm (1979): the smallest p-value is multiplied by the number of tests, the next by one less, and so on.
stepped AS (
    SELECT
        *,
        p_any_time * (count(p_any_time) OVER () + 1
            - row_number() OVER (ORDER BY p_any_time NULLS LAST, pack_id, valid_from, tier_number)) AS step
    FROM tested
),
corrected AS (
    SELECT
        *,
        CASE WHEN p_any_time IS NOT NULL THEN least(1, max(step) OVER (
            ORDER BY p_any_time NULLS LAST, pack_id, valid_from, tier_number ROWS UNBOUNDED PRECEDING)) END
            AS p_any_time_holm
    FROM stepped
)
SELECT
    pack_id,
    valid_from,
    tier,
    pack_name,
    fmv_low_usd,
    fmv_high_usd,
    pull_count,
    hit_count,
    hit_count / nullif(pull_count, 0) AS hit_rate,
    clustered_low(s, design, t) AS hit_rate_low,
    clustered_high(s, design, t) AS hit_rate_high,
    published_share,
    pull_count * published_share AS expected_hit_count,
    p_value,
    p_any_time,
    p_any_time_holm,
    CASE
        WHEN buyback_share IS NULL THEN 'not tested: buyback_percent is unknown'
        WHEN is_doubtful THEN 'not tested: many quotes lie outside all tiers'
        WHEN p_any_time_holm IS NULL THEN 'no pulls yet'
        WHEN p_any_time_holm < 0.05 AND hit_rate > published_share THEN 'more often than published'
        WHEN p_any_time_holm < 0.05 THEN 'less often than published'
        ELSE 'no significant difference'
    END AS verdict
FROM corrected
UNION ALL
SELECT
    outside.pack_id, valid_from, NULL, packs.name, NULL, NULL, s.m::BIGINT, s.y::BIGINT, s.y / s.m,
    share_low, share_high, NULL, NULL, NULL, NULL, NULL,
    CASE WHEN lies_outside(share_low) THEN 'check buyback_percent and the bounds of the tiers' ELSE 'few quotes lie outside all tiers' END
FROM outside JOIN reference_packs AS packs ON packs.pack_id = outside.pack_id
ORDER BY pack_id, valid_from NULLS FIRST, fmv_low_usd NULLS LAST
