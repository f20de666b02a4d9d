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


def _bounds(name: str, method: str, note: str = "") -> tuple[Column, Column]:
    return (
        Column(f"{name}_low", "DOUBLE", f"Lower bound of the 95 % interval of `{name}` {method}"),
        Column(f"{name}_high", "DOUBLE", f"Upper bound of the 95 % interval of `{name}` {method}{note}"),
    )


_IS_COMPLETE = Column(
    "is_complete",
    "BOOLEAN",
    "Whether the UTC day was over at the end of the data; if not, the day is partial. Pending sessions may still add "
    "to any day",
    nullable=False,
)

_BY_RANK = "(order statistics, clustered by session; NULL below 30 sessions)"
_BY_HALL = "(Student's t corrected for skewness, clustered by session; NULL below 100 sessions)"
_CLUSTERED = "(Wilson, clustered by {})"


def _share_bounds(name: str, cluster: str) -> tuple[Column, Column]:
    method = _CLUSTERED.format(cluster)
    return (
        _share(f"{name}_low", f"Lower bound of the 95 % interval of `{name}` {method}"),
        _share(f"{name}_high", f"Upper bound of the 95 % interval of `{name}` {method}"),
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
        _money("spend_usd", "Price of these pulls; the return is `spend_buyback_usd` over `spend_usd`"),
        _money("spend_buyback_usd", "Sum of the quotes of these pulls"),
        _IS_COMPLETE,
    ),
    group="marts",
    sources=("daily_quote_counts", "submission_days"),
    references=(Reference(("item_type",), "item_types"),),
)

PACK_ECONOMICS = Table(
    "pack_economics",
    "One row per pack with a known price, on a quoted-buyback basis: a quote can change at sellback.",
    (
        Column("pack_id", "VARCHAR", "The pack", key=True),
        _count("purchase_count", "Sessions with a price: as submitted, else the packs file's times the packs bought"),
        _count("fulfilled_count", "Of these, fulfilled"),
        _count("pull_count", "Pulls of the fulfilled sessions: quoted, unquoted and free ones"),
        _money("spend_usd", "Sum of the price per pull over the quoted pulls"),
        _money("buyback_total_usd", "Sum of the quotes of the quoted pulls"),
        Column("return_ratio", "DOUBLE", "`buyback_total_usd` over `spend_usd`; a few large quotes dominate it"),
        _share("win_rate", "Share of the quoted pulls with a quote at or above the price per pull"),
        *_share_bounds("win_rate", "session"),
        _share(
            "win_rate_low_of_all",
            "Lower bound of the simultaneous 95 % intervals over all packs of the table; for comparing packs",
        ),
        _share("win_rate_high_of_all", "Upper bound of the simultaneous interval"),
        _share(
            "win_rate_shrunk",
            "Win rate shrunk towards that of all packs, more so with fewer pulls. The highest `win_rate` of many packs "
            "is mostly luck. NULL below 10 packs",
        ),
        Column(
            "win_rate_rank", "BIGINT", "1 for the highest `win_rate_shrunk`, or the highest `win_rate` below 10 packs"
        ),
        Column("multiple_median", "DOUBLE", "Median of quote over price per pull"),
        *_bounds("multiple_median", _BY_RANK),
        Column("multiple_mean_capped_5x", "DOUBLE", "Mean of quote over price per pull, each capped at 5"),
        *_bounds("multiple_mean_capped_5x", _BY_HALL, "; at least the bound with one more pull at 5"),
        Column(
            "multiple_mean", "DOUBLE", "The mean without a cap; a few large values dominate it, so it has no interval"
        ),
        _count(
            "quoted_pull_count",
            "Quoted pulls of sessions with a price above zero; the base of the row's spend, buyback and multiples",
        ),
        _count("unquoted_pull_count", "Pulls of these sessions without a quote; excluded from the other figures"),
        _money(
            "unquoted_spend_usd",
            "Price of the pulls without a quote; plus `spend_usd`, the price of all fulfilled sessions",
        ),
        _count("unpriced_count", "Fulfilled sessions of the pack without a price; excluded from the other figures"),
        _count("free_count", "Of `fulfilled_count`, sessions with a price of zero; they have no multiples and no wins"),
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
        _count("expired", "Of these, expired"),
        _IS_COMPLETE,
        Column(
            "is_mature",
            "BOOLEAN",
            "Whether the day ended at least a day before the end of the data, with at most 1 % of its sessions "
            "pending; until then its rates may change",
            nullable=False,
        ),
        _share("failed_rate", "Failed over failed plus fulfilled"),
        *_share_bounds("failed_rate", "user, or by session if a failed session has no user"),
        _share("failed_rate_at_least", "Failed over all sessions: the rate if no pending or expired session fails"),
        _share("failed_rate_at_most", "Failed, pending and expired over all sessions: the rate if all of these fail"),
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
    "One row per window of days: the sum of quotes and the part that is not yet sold back. Without records of "
    "sellbacks that part is unknown, at most `buyback_total_usd`.",
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
            "Of the pulls, those sold back according to the records; NULL (unknown) without records",
        ),
        _money("sold_back_quoted_usd", "Sum of the quotes of these; NULL without records"),
        _money("sold_back_usd", "Sum of the recorded amounts paid for these; NULL without records"),
        _money("outstanding_usd", "`buyback_total_usd` less `sold_back_quoted_usd`; NULL (unknown) without records"),
        Column(
            "sellbacks_until",
            TIME,
            "Latest sale in the records, at most the time at which its record was read; later sales are unknown",
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
    "One row per item that was pulled more than once; it was sold back in between.",
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
            "Logarithm of latest over previous quote, for means over items. A mean of `change_ratio` is biased "
            "upwards: a doubling and a halving average to a rise. NULL if a quote is zero",
        ),
        Column("change_since_first_log", "DOUBLE", "Logarithm of latest over first quote"),
    ),
    group="marts",
    sources=("items", "item_days"),
    references=(Reference(("item_id",), "items"),),
)

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
        *_share_bounds("hit_rate", "session"),
        _share("published_share", "The tier's published weight over the sum of the pack's"),
        Column("expected_hit_count", "DOUBLE", "Hits expected in `pull_count` pulls at the published share"),
        _share(
            "p_value",
            "Probability of a count at least as unusual if the published share is true (exact binomial test). Valid "
            "for one look at independent pulls; daily looks produce small values by chance",
        ),
        _share(
            "p_any_time",
            "Anytime-valid p-value, for daily looks and correlated pulls of a session: if the published share is true, "
            "the probability that it ever falls below 0.05 is at most 5 %",
        ),
        _share(
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
