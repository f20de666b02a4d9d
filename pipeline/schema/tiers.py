"""Marts of tiers: hit rates against the published odds."""

from pipeline.schema.measures import money, share, share_bounds
from pipeline.schema.table import Column, Table

TIER_HIT_RATES = Table(
    "tier_hit_rates",
    "One row per pack, version of its tiers and tier, plus one without a tier for the quotes outside all tiers.",
    (
        Column("pack_id", "VARCHAR", "The pack", key=True),
        Column(
            "valid_from",
            "DATE",
            "First day of pulling of this version of the tiers; NULL = always",
            key=True,
            nullable=True,
        ),
        Column("tier", "VARCHAR", "The tier; NULL for quotes outside all tiers", key=True, nullable=True),
        Column("pack_name", "VARCHAR", "The pack's name"),
        money("fmv_low_usd", "Lowest fair market value of the tier's items"),
        money("fmv_high_usd", "Exclusive upper bound of the fair market value of the tier's items; NULL if unbounded"),
        Column(
            "pull_count",
            "BIGINT",
            "Quoted pulls of the pack within any tier; in the row without a tier, all quoted pulls. "
            "NULL, like the columns derived from it, if the packs file has no buyback percentage",
        ),
        Column("hit_count", "BIGINT", "Of these, pulls whose quote over buyback percentage lies in the tier"),
        share("hit_rate", "`hit_count` over `pull_count`"),
        *share_bounds("hit_rate", "session"),
        share("published_share", "The tier's published weight over the sum of the pack's"),
        Column("expected_hit_count", "DOUBLE", "Hits expected in `pull_count` pulls at the published share"),
        share(
            "p_value",
            "Probability of a count at least as unusual if the published share is true (exact binomial test). Valid "
            "for one look at independent pulls; daily looks produce small values by chance",
        ),
        share(
            "p_any_time",
            "Anytime-valid p-value, for daily looks and correlated pulls of a session: if the published share is true, "
            "the probability that it ever falls below 0.05 is at most 5 %",
        ),
        share(
            "p_any_time_holm", "`p_any_time` corrected for the number of tiers tested (Holm); significant below 0.05"
        ),
        Column(
            "verdict",
            "VARCHAR",
            "`p_any_time_holm` in words. Nothing is tested if significantly more than 1 % of the quotes lie outside "
            "all tiers: the buyback percentage or the tiers are then doubtful",
            nullable=False,
        ),
    ),
    group="marts",
    sources=("reference_tiers", "reference_packs", "tier_days"),
)
