"""Marts: the tables that answer an analyst's questions."""

from pipeline.schema.intermediate import LATENCIES
from pipeline.schema.table import MONEY, SHARE, TIME, Column, Reference, Table


def _share(name: str, description: str) -> Column:
    return Column(name, "DOUBLE", f"{description}, 0 to 1", unit=SHARE)


def _money(name: str, description: str) -> Column:
    return Column(name, MONEY, description)


def _count(name: str, description: str) -> Column:
    return Column(name, "BIGINT", description, nullable=False)


_PULL_COUNTS = (
    _count("pull_count", "Pulls"),
    _count("priced_pull_count", "Pulls with a quoted buyback price; the base of every buyback figure"),
)

_HALF_OF_TOTAL = Column(
    "half_of_total_pull_count",
    "BIGINT",
    "Number of top pulls that make half of `buyback_total_usd`; if few, those pulls decide the mean",
)


def _bounds(name: str, method: str) -> tuple[Column, Column]:
    return (
        Column(f"{name}_low", "DOUBLE", f"Lower bound of the 95 % interval of `{name}`, {method}"),
        Column(f"{name}_high", "DOUBLE", f"Upper bound of the 95 % interval of `{name}`, {method}"),
    )


_IS_COMPLETE = Column(
    "is_complete",
    "BOOLEAN",
    "Whether the UTC day was over when the data end: of one that was not, a part is still to come. Sessions that are "
    "pending may add to either",
    nullable=False,
)

_BY_RANK = "from order statistics, sessions being the sample; NULL below 30 sessions"
_BY_HALL = (
    "Student's t corrected for skewness, sessions being the sample; as high at least as with one more pull at 5; NULL "
    "below 100 sessions"
)
_CLUSTERED = "Wilson's for clustered samples, {} being the sample"


def _share_bounds(name: str, sample: str) -> tuple[Column, Column]:
    method = _CLUSTERED.format(sample)
    return (
        _share(f"{name}_low", f"Lower bound of the 95 % interval of `{name}`, {method}"),
        _share(f"{name}_high", f"Upper bound of the 95 % interval of `{name}`, {method}"),
    )


ITEM_TYPES = Table(
    "item_types",
    "One row per item type.",
    (
        Column("item_type", "VARCHAR", "The type as sent; `unknown` where absent", key=True),
        _PULL_COUNTS[0],
        _share("pull_share", "Share of all pulls"),
        _count("item_count", "Distinct items"),
        _share("on_chain_share", "Share of the pulls that have a mint address"),
        _PULL_COUNTS[1],
        _money("buyback_total_usd", "Sum of quotes"),
        _money("buyback_mean_usd", "Mean quote; a few large ones dominate it"),
        _money("buyback_min_usd", "Lowest quote"),
        *(_money(f"buyback_p{p}_usd", f"Percentile {p} of the quotes, interpolated") for p in (5, 25)),
        _money("buyback_median_usd", "Median quote, interpolated"),
        *(_money(f"buyback_p{p}_usd", f"Percentile {p} of the quotes, interpolated") for p in (75, 95, 99)),
        _money("buyback_max_usd", "Highest quote"),
        _share("top_1_percent_share", "Share of the top 1 % of priced pulls in the total"),
        _HALF_OF_TOTAL,
        Column(
            "multiple_median",
            "DOUBLE",
            "Median of quote over price per pull, of the quoted pulls with a price above zero; a median of quotes "
            "would mix packs of all prices",
        ),
    ),
    group="marts",
    sources=("daily_quote_counts", "item_days"),
)

BUYBACK_VALUES = Table(
    "buyback_values",
    "One row per UTC day of pulling, pack and item type.",
    (
        Column("pulled_date", "DATE", "UTC day of `pulled_at`", key=True),
        Column("pack_id", "VARCHAR", "The pack; NULL where not submitted", key=True, nullable=True),
        Column("item_type", "VARCHAR", "The type as sent; `unknown` where absent", key=True),
        *_PULL_COUNTS,
        _money("buyback_total_usd", "Sum of quotes"),
        _money("buyback_mean_usd", "Mean quote"),
        _money("buyback_median_usd", "Median quote, interpolated"),
        *(_money(f"buyback_p{p}_usd", f"Percentile {p} of the quotes, interpolated") for p in (25, 75, 95)),
        _money("buyback_max_usd", "Highest quote"),
        _count(
            "paid_pull_count", "Quoted pulls of sessions whose price is known and not zero; the base of the next two"
        ),
        _money("spend_usd", "Price of these pulls; over it, `spend_buyback_usd` is the return"),
        _money("spend_buyback_usd", "Sum of the quotes of these pulls"),
        _IS_COMPLETE,
    ),
    group="marts",
    sources=("daily_quote_counts", "submission_days"),
    references=(Reference(("item_type",), "item_types"),),
)

PACK_ECONOMICS = Table(
    "pack_economics",
    "One row per pack with a known price, on quoted-buyback basis: a quote can change at sellback.",
    (
        Column("pack_id", "VARCHAR", "The pack", key=True),
        _count("purchase_count", "Sessions with a price: submitted, else from the packs file times the packs bought"),
        _count("fulfilled_count", "Of these, fulfilled"),
        _count("pull_count", "Pulls of the fulfilled sessions: quoted, unquoted and free ones"),
        _money("spend_usd", "Price of the quoted pulls: each one's part of its session's price"),
        _money("buyback_total_usd", "Sum of the quotes of the quoted pulls"),
        Column("return_ratio", "DOUBLE", "`buyback_total_usd` over `spend_usd`; a few large quotes dominate it"),
        _share("win_rate", "Share of the quoted pulls with a quote at or above the price per pull"),
        *_share_bounds("win_rate", "sessions"),
        _share(
            "win_rate_low_of_all",
            "Lower bound of intervals that hold for all packs of the table at once in 95 %: to compare packs by",
        ),
        _share("win_rate_high_of_all", "Upper bound of these intervals"),
        _share(
            "win_rate_shrunk",
            "Win rate drawn to that of all packs, the more the fewer its pulls: of many packs the one with the highest "
            "`win_rate` mostly is the luckiest. NULL below 10 packs",
        ),
        Column(
            "win_rate_rank", "BIGINT", "1 for the highest `win_rate_shrunk`, below 10 packs for the highest `win_rate`"
        ),
        Column("multiple_median", "DOUBLE", "Median of quote over price per pull"),
        *_bounds("multiple_median", _BY_RANK),
        Column("multiple_mean_capped_5x", "DOUBLE", "Mean of quote over price per pull, each capped at 5"),
        *_bounds("multiple_mean_capped_5x", _BY_HALL),
        Column(
            "multiple_mean", "DOUBLE", "The mean without a cap; a few large values dominate it, so it has no interval"
        ),
        _count(
            "quoted_pull_count",
            "Quoted pulls of the sessions whose price is not zero; the base of every figure of money in the row",
        ),
        _count("unquoted_pull_count", "Pulls of these sessions without a quote, which are in no other figure"),
        _money("unquoted_spend_usd", "Price of the pulls without a quote; with `spend_usd`, all fulfilled sessions'"),
        _count("unpriced_count", "Fulfilled sessions of the pack without any price, which are in no other figure"),
        _count(
            "free_count", "Of `fulfilled_count`, those with a price of zero; they have no multiples and win nothing"
        ),
        _count("free_pull_count", "Pulls of the free sessions"),
        _money("free_buyback_total_usd", "Sum of the quotes of the free sessions' pulls"),
        _HALF_OF_TOTAL,
        _share("top_10_share", "Share of the ten top pulls in `buyback_total_usd`"),
        _count("multiple_below_0_5_count", "Quoted pulls below 0.5 times the price per pull"),
        _count("multiple_0_5_to_1_count", "Quoted pulls from 0.5 to below 1 times the price per pull"),
        _count("multiple_1_to_2_count", "Quoted pulls from 1 to below 2 times the price per pull"),
        _count("multiple_2_to_5_count", "Quoted pulls from 2 to below 5 times the price per pull"),
        _count("multiple_5_to_20_count", "Quoted pulls from 5 to below 20 times the price per pull"),
        _count("multiple_20_and_above_count", "Quoted pulls at 20 times the price per pull or above"),
        _count("reference_price_count", "Of `purchase_count`, sessions priced from the packs file"),
        Column("pack_name", "VARCHAR", "The pack's name, from the packs file"),
        Column(
            "return_ratio_at_market_value",
            "DOUBLE",
            "Fair market value over spend: `return_ratio` over the packs file's buyback percentage; NULL without one",
        ),
    ),
    group="marts",
    sources=("purchases", "daily_quote_counts", "reference_packs"),
    references=(Reference(("pack_id",), "purchases"),),
)

RESOLUTION_FUNNEL = Table(
    "resolution_funnel",
    "One row per UTC day of submission.",
    (
        Column("submitted_date", "DATE", "UTC day of `submitted_at`", key=True),
        _count("submitted", "Sessions first seen that day"),
        _count("fulfilled", "Of these, fulfilled by now"),
        _count("failed", "Of these, failed by now"),
        _count("pending", "Of these, still pending"),
        _count("expired", "Of these, given up"),
        _IS_COMPLETE,
        Column(
            "is_mature",
            "BOOLEAN",
            "Whether the day ended a day or more before the data do, and at most 1 % of its sessions are pending; "
            "until then its rates still move",
            nullable=False,
        ),
        _share("failed_rate", "Failed over failed plus fulfilled"),
        *_share_bounds("failed_rate", "users, where each failed session has one, else sessions,"),
        _share("failed_rate_at_least", "Failed over all: the rate if none of the pending and expired fails"),
        _share("failed_rate_at_most", "Failed, pending and expired over all: the rate if all of these fail"),
        *LATENCIES,
    ),
    group="marts",
    sources=("submission_days",),
)

_AS_OF = Column(
    "as_of",
    TIME,
    "Latest submission, request or answer in the data; ages and windows count back from it",
    nullable=False,
)

PENDING_AGEING = Table(
    "pending_ageing",
    "One row per age band of pending sessions.",
    (
        Column("age_band", "VARCHAR", "Time from `submitted_at` to `as_of`, in words", key=True),
        _count("age_from_seconds", "Lower bound of the band"),
        _AS_OF,
        _count("session_count", "Pending sessions of that age"),
        _count("priced_session_count", "Of these, sessions with a price: as submitted, else from the packs file"),
        _money("price_usd", "Sum of these prices"),
        Column("oldest_submitted_at", TIME, "When the oldest of them was submitted"),
        Column("oldest_session_ids", "VARCHAR[]", "The ten oldest of them, oldest first"),
    ),
    group="marts",
    sources=("purchases", "reference_packs", "submission_days"),
)

BUYBACK_OUTSTANDING = Table(
    "buyback_outstanding",
    "One row per window of days: what was quoted in it, and how much of that is still to be sold back. Without records "
    "of sellbacks that is not known: at most `buyback_total_usd`.",
    (
        Column("window_days", "INTEGER", "Days back from `as_of`: 1, 3, 7 or 30", key=True),
        _AS_OF,
        _count("session_count", "Sessions fulfilled in the window"),
        *_PULL_COUNTS,
        _money("buyback_total_usd", "Sum of quotes"),
        _share("top_10_share", "Share of the ten top pulls in the sum"),
        Column(
            "sold_back_count",
            "BIGINT",
            "Of the pulls, those sold back by the records; NULL, not known, without records",
        ),
        _money("sold_back_quoted_usd", "Sum of the quotes of these; NULL without records"),
        _money("sold_back_usd", "Sum of what was paid for these, where records say; NULL without records"),
        _money("outstanding_usd", "`buyback_total_usd` less `sold_back_quoted_usd`; NULL, not known, without records"),
        Column(
            "sellbacks_until",
            TIME,
            "Latest sale in the records, at the latest when one was read: of later ones nothing is known",
        ),
    ),
    group="marts",
    sources=("submission_days", "pulls", "sellbacks"),
)

TOP_PULLS = Table(
    "top_pulls",
    "One row per pull among the hundred top pulls.",
    (
        Column("pull_rank", "BIGINT", "1 for the highest quote; ties: the earlier pull first", key=True),
        Column("session_id", "VARCHAR", "The session", nullable=False),
        Column("pull_number", "INTEGER", "The pull within the session", nullable=False),
        Column("item_id", "VARCHAR", "The item"),
        Column("item_type", "VARCHAR", "The type as sent"),
        Column("name", "VARCHAR", "The item's name"),
        Column("buyback_price_usd", MONEY, "Quoted sellback value", nullable=False),
        _share("total_share", "Share of the sum of all quotes"),
        Column("multiple", "DOUBLE", "Quote over price per pull; NULL if the price is unknown"),
        Column("pack_id", "VARCHAR", "The pack"),
        Column("user_id", "VARCHAR", "The user"),
        Column("pulled_at", TIME, "When it was pulled", nullable=False),
        Column("image_url", "VARCHAR", "Front image"),
    ),
    group="marts",
    sources=("daily_top_pulls", "daily_quote_counts"),
    references=(Reference(("session_id", "pull_number"), "pulls"),),
)

DAILY_TYPE_MIX = Table(
    "daily_type_mix",
    "One row per UTC day of pulling and item type.",
    (
        Column("pulled_date", "DATE", "UTC day of `pulled_at`", key=True),
        Column("item_type", "VARCHAR", "The type as sent; `unknown` where absent", key=True),
        _PULL_COUNTS[0],
        _share("pull_share", "Share of the day's pulls"),
        _PULL_COUNTS[1],
        _money("buyback_total_usd", "Sum of quotes"),
        _share("buyback_share", "Share of the day's sum of quotes"),
        _share("off_chain_share", "Share of the pulls that have no mint address"),
        _IS_COMPLETE,
    ),
    group="marts",
    sources=("daily_quote_counts", "submission_days"),
)

REPULLED_ITEMS = Table(
    "repulled_items",
    "One row per item that was pulled more than once, each time after it was sold back.",
    (
        Column("item_id", "VARCHAR", "The item", key=True),
        Column("item_type", "VARCHAR", "Latest source of the item"),
        Column("name", "VARCHAR", "Latest name"),
        _count("pull_count", "Pulls of the item"),
        Column("first_pulled_at", TIME, "First pull of the item", nullable=False),
        Column("last_pulled_at", TIME, "Latest pull of the item", nullable=False),
        Column("mean_days_between_pulls", "DOUBLE", "Mean of the days from one pull to the next", nullable=False),
        _money("first_buyback_price_usd", "Quote of the earliest quoted pull"),
        _money("previous_buyback_price_usd", "Quote of the second latest quoted pull"),
        _money("latest_buyback_price_usd", "Quote of the latest quoted pull"),
        _money("change_usd", "Latest less previous quote"),
        Column("change_ratio", "DOUBLE", "Change over the previous quote: 0.1 is a rise by 10 %"),
        Column("change_since_first_ratio", "DOUBLE", "Latest less first quote, over the first"),
        Column(
            "change_log",
            "DOUBLE",
            "Logarithm of latest over previous quote; for means over items: those of `change_ratio` rise without any "
            "drift, since what doubles and halves counts as a rise. NULL where a quote is zero",
        ),
        Column("change_since_first_log", "DOUBLE", "Logarithm of latest over first quote"),
    ),
    group="marts",
    sources=("items", "item_days"),
    references=(Reference(("item_id",), "items"),),
)

TIER_HIT_RATES = Table(
    "tier_hit_rates",
    "One row per pack, version of its tiers and tier, and one without a tier for quotes outside all of them.",
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
        _money("fmv_low_usd", "Lowest fair market value of the tier's items"),
        _money("fmv_high_usd", "Exclusive upper bound of the fair market value of the tier's items; NULL if unbounded"),
        Column(
            "pull_count",
            "BIGINT",
            "Quoted pulls of the pack within any tier; in the row without a tier, all quoted pulls. "
            "NULL, like the columns derived from it, if the packs file has no buyback percentage",
        ),
        Column("hit_count", "BIGINT", "Of these, pulls whose quote over buyback percentage lies in the tier"),
        _share("hit_rate", "`hit_count` over `pull_count`"),
        *_share_bounds("hit_rate", "sessions"),
        _share("published_share", "The tier's published weight over the sum of the pack's"),
        Column("expected_hit_count", "DOUBLE", "Hits expected in `pull_count` pulls at the published share"),
        _share(
            "p_value",
            "How likely a count at least as unusual is if the published share is true; exact binomial. For one look at "
            "independent pulls: whoever looks each day sees small ones by chance",
        ),
        _share(
            "p_any_time",
            "The same for a look each day, and for pulls of a session that may be alike: while the published share is "
            "true, it ever falls below 0.05 with a probability of 5 % at most",
        ),
        _share("p_any_time_holm", "`p_value` corrected for the number of tiers tested (Holm); significant below 0.05"),
        Column(
            "verdict",
            "VARCHAR",
            "What `p_any_time_holm` says, in words; where surely more than 1 % of the quotes lie outside all tiers, "
            "nothing is tested, for the buyback percentage or the tiers are doubtful",
            nullable=False,
        ),
    ),
    group="marts",
    sources=("reference_tiers", "reference_packs", "tier_days"),
)
