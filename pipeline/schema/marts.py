"""Marts: the tables that answer an analyst's questions."""

from pipeline.schema.table import MONEY, TIME, Column, Table


def _share(name: str, description: str) -> Column:
    return Column(name, "DOUBLE", f"{description}, 0 to 1")


def _money(name: str, description: str) -> Column:
    return Column(name, MONEY, description)


def _count(name: str, description: str) -> Column:
    return Column(name, "BIGINT", description, nullable=False)


_PULL_COUNTS = (
    _count("pull_count", "Pulls"),
    _count("priced_pull_count", "Pulls with a quoted buyback price; the base of every buyback figure"),
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
        _share("top_1_percent_share", "Share of the total that the dearest 1 % of priced pulls hold"),
    ),
    group="marts",
    sources=("pulls",),
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
    ),
    group="marts",
    sources=("pulls",),
)

PACK_ECONOMICS = Table(
    "pack_economics",
    "One row per pack with a known price, on quoted-buyback basis: a quote can change at sellback.",
    (
        Column("pack_id", "VARCHAR", "The pack", key=True),
        _count("purchase_count", "Submitted sessions with a price"),
        _count("fulfilled_count", "Of these, fulfilled"),
        _count("pull_count", "Pulls of the fulfilled sessions"),
        _money("spend_usd", "Sum of the fulfilled sessions' prices"),
        _money("buyback_total_usd", "Sum of the quotes of their pulls"),
        Column("return_ratio", "DOUBLE", "`buyback_total_usd` over `spend_usd`"),
        _share("win_rate", "Share of the quoted pulls that are quoted at or above the price per pull"),
        _share("win_rate_low", "Lower bound of the Wilson 95 % interval of `win_rate`"),
        _share("win_rate_high", "Upper bound of the Wilson 95 % interval of `win_rate`"),
        Column("multiple_median", "DOUBLE", "Median of quote over price per pull"),
        Column("multiple_mean", "DOUBLE", "Mean of quote over price per pull; a few large ones dominate it"),
        Column("multiple_mean_capped_5x", "DOUBLE", "The same mean with each multiple capped at 5"),
        _count("multiple_below_0_5_count", "Quoted pulls below 0.5 times the price per pull"),
        _count("multiple_0_5_to_1_count", "Quoted pulls from 0.5 to below 1 times the price per pull"),
        _count("multiple_1_to_2_count", "Quoted pulls from 1 to below 2 times the price per pull"),
        _count("multiple_2_to_5_count", "Quoted pulls from 2 to below 5 times the price per pull"),
        _count("multiple_5_to_20_count", "Quoted pulls from 5 to below 20 times the price per pull"),
        _count("multiple_20_and_above_count", "Quoted pulls at 20 times the price per pull or above"),
        _share("top_10_share", "Share of `buyback_total_usd` that the ten dearest pulls hold"),
    ),
    group="marts",
    sources=("purchases", "pulls"),
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
        _share("failed_rate", "Failed over failed plus fulfilled"),
        _share("failed_rate_low", "Lower bound of the Wilson 95 % interval of `failed_rate`"),
        _share("failed_rate_high", "Upper bound of the Wilson 95 % interval of `failed_rate`"),
        *(
            Column(
                f"latency_p{p}_seconds",
                "DOUBLE",
                f"Percentile {p} of the seconds from initiation (else submission) to the first fulfilled "
                "answer; at most, since polling sees a fulfilment late",
            )
            for p in (50, 90, 99)
        ),
    ),
    group="marts",
    sources=("purchases",),
)

DATA_ISSUES = Table(
    "data_issues",
    "One row per finding.",
    (
        Column("rule", "VARCHAR", "Short name of the rule that found it", nullable=False),
        Column("severity", "VARCHAR", "`error`, `warning` or `info`", nullable=False),
        Column("table_name", "VARCHAR", "Table that the finding is about", nullable=False),
        Column("session_id", "VARCHAR", "The session, where there is one"),
        Column("pull_number", "INTEGER", "The pull, where there is one"),
        Column("source", "VARCHAR", "Inbox file and row, or SHA-256 of the answer's body"),
        Column("field", "VARCHAR", "Field or JSON path"),
        Column("detail", "VARCHAR", "What was found", nullable=False),
        Column("raw_value", "VARCHAR", "First 200 characters of what was received"),
        Column("observed_at", TIME, "When it was received", nullable=False),
    ),
    group="marts",
    sources=(
        "session_submissions",
        "session_polls",
        "notable_answers",
        "answer_findings",
        "unknown_fields",
        "purchases",
        "pulls",
    ),
)
