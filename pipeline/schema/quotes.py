"""Marts of quotes: by item type, by day and pack, and against the prices of packs."""

from pipeline.schema.measures import IS_COMPLETE, PULL_COUNTS, count, money, share, share_bounds
from pipeline.schema.table import Column, Reference, Table

_HALF_OF_TOTAL = Column(
    "half_of_total_pull_count",
    "BIGINT",
    "Number of top pulls that make up half of `buyback_total_usd`; if few, those pulls decide the mean",
)

_BY_RANK = "(order statistics, clustered by session; NULL below 30 sessions)"
_BY_HALL = "(Student's t corrected for skewness, clustered by session; NULL below 100 sessions)"


def _bounds(name: str, method: str, note: str = "") -> tuple[Column, Column]:
    return (
        Column(f"{name}_low", "DOUBLE", f"Lower bound of the 95 % interval of `{name}` {method}"),
        Column(f"{name}_high", "DOUBLE", f"Upper bound of the 95 % interval of `{name}` {method}{note}"),
    )


ITEM_TYPES = Table(
    "item_types",
    "One row per item type.",
    (
        Column("item_type", "VARCHAR", "The type as sent; `unknown` where absent", key=True),
        PULL_COUNTS[0],
        share("pull_share", "Share of all pulls"),
        count("item_count", "Distinct items"),
        share("on_chain_share", "Share of the pulls that have a mint address"),
        PULL_COUNTS[1],
        money("buyback_total_usd", "Sum of quotes"),
        money("buyback_mean_usd", "Mean quote; a few large quotes dominate it"),
        money("buyback_min_usd", "Lowest quote"),
        *(money(f"buyback_p{p}_usd", f"Percentile {p} of the quotes, interpolated") for p in (5, 25)),
        money("buyback_median_usd", "Median quote, interpolated"),
        *(money(f"buyback_p{p}_usd", f"Percentile {p} of the quotes, interpolated") for p in (75, 95, 99)),
        money("buyback_max_usd", "Highest quote"),
        share("top_1_percent_share", "Share of the top 1 % of priced pulls in the total"),
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
        *PULL_COUNTS,
        money("buyback_total_usd", "Sum of quotes"),
        money("buyback_mean_usd", "Mean quote"),
        money("buyback_median_usd", "Median quote, interpolated"),
        *(money(f"buyback_p{p}_usd", f"Percentile {p} of the quotes, interpolated") for p in (25, 75, 95)),
        money("buyback_max_usd", "Highest quote"),
        count(
            "paid_pull_count",
            "Quoted pulls of sessions whose price is known and not zero; the base of `spend_usd` and "
            "`spend_buyback_usd`",
        ),
        money("spend_usd", "Price of these pulls; the return is `spend_buyback_usd` over `spend_usd`"),
        money("spend_buyback_usd", "Sum of the quotes of these pulls"),
        IS_COMPLETE,
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
        count("purchase_count", "Sessions with a price: as submitted, else from the packs file times the packs bought"),
        count("fulfilled_count", "Of these, fulfilled"),
        count("pull_count", "Pulls of the fulfilled sessions: quoted, unquoted and free ones"),
        money("spend_usd", "Sum of the price per pull over the quoted pulls"),
        money("buyback_total_usd", "Sum of the quotes of the quoted pulls"),
        Column("return_ratio", "DOUBLE", "`buyback_total_usd` over `spend_usd`; a few large quotes dominate it"),
        share("win_rate", "Share of the quoted pulls with a quote at or above the price per pull"),
        *share_bounds("win_rate", "session"),
        share(
            "win_rate_low_of_all",
            "Lower bound of the simultaneous 95 % intervals over all packs of the table; for comparing packs",
        ),
        share("win_rate_high_of_all", "Upper bound of the simultaneous interval"),
        share(
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
        *_bounds("multiple_mean_capped_5x", _BY_HALL, "; at least the bound that one more pull at 5 would give"),
        Column(
            "multiple_mean",
            "DOUBLE",
            "Mean of quote over price per pull, without a cap; a few large values dominate it, so it has no interval",
        ),
        count(
            "quoted_pull_count",
            "Quoted pulls of sessions with a price above zero; the base of the row's spend, buyback and multiples",
        ),
        count("unquoted_pull_count", "Pulls of these sessions without a quote; excluded from the other figures"),
        money(
            "unquoted_spend_usd",
            "Price of the pulls without a quote; with `spend_usd`, it adds up to the price of all fulfilled sessions",
        ),
        count("unpriced_count", "Fulfilled sessions of the pack without a price; excluded from the other figures"),
        count("free_count", "Of `fulfilled_count`, sessions with a price of zero; they have no multiples and no wins"),
        count("free_pull_count", "Pulls of the free sessions"),
        money("free_buyback_total_usd", "Sum of the quotes of the free sessions' pulls"),
        _HALF_OF_TOTAL,
        share("top_10_share", "Share of the ten top pulls in `buyback_total_usd`"),
        count("multiple_below_0_5_count", "Quoted pulls below 0.5 times the price per pull"),
        count("multiple_0_5_to_1_count", "Quoted pulls from 0.5 to below 1 times the price per pull"),
        count("multiple_1_to_2_count", "Quoted pulls from 1 to below 2 times the price per pull"),
        count("multiple_2_to_5_count", "Quoted pulls from 2 to below 5 times the price per pull"),
        count("multiple_5_to_20_count", "Quoted pulls from 5 to below 20 times the price per pull"),
        count("multiple_20_and_above_count", "Quoted pulls at 20 times the price per pull or above"),
        count("reference_price_count", "Of `purchase_count`, sessions priced from the packs file"),
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
