"""Marts of pulls: sums of recent quotes, top pulls, types by day, and items that were pulled again."""

from pipeline.schema.measures import AS_OF, IS_COMPLETE, PULL_COUNTS, count, money, share
from pipeline.schema.table import MONEY, TIME, Column, Reference, Table

BUYBACK_OUTSTANDING = Table(
    "buyback_outstanding",
    "One row per window of days: the sum of quotes and the part that is not yet sold back. Without records of "
    "sellbacks that part is unknown, at most `buyback_total_usd`.",
    (
        Column("window_days", "INTEGER", "Days back from `as_of`: 1, 3, 7 or 30", key=True),
        AS_OF,
        count("session_count", "Sessions fulfilled in the window"),
        *PULL_COUNTS,
        money("buyback_total_usd", "Sum of quotes"),
        share("top_10_share", "Share of the ten top pulls in the sum"),
        Column(
            "sold_back_count",
            "BIGINT",
            "Of the pulls, those sold back according to the records; NULL (unknown) without records",
        ),
        money("sold_back_quoted_usd", "Sum of the quotes of these; NULL without records"),
        money("sold_back_usd", "Sum of the recorded amounts paid for these; NULL without records"),
        money("outstanding_usd", "`buyback_total_usd` less `sold_back_quoted_usd`; NULL (unknown) without records"),
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
        Column("buyback_price_usd", MONEY, "Quote", nullable=False),
        share("total_share", "Share of the sum of all quotes"),
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
        PULL_COUNTS[0],
        share("pull_share", "Share of the day's pulls"),
        PULL_COUNTS[1],
        money("buyback_total_usd", "Sum of quotes"),
        share("buyback_share", "Share of the day's sum of quotes"),
        share("off_chain_share", "Share of the pulls that have no mint address"),
        IS_COMPLETE,
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
        count("pull_count", "Pulls of the item"),
        Column("first_pulled_at", TIME, "First pull of the item", nullable=False),
        Column("last_pulled_at", TIME, "Latest pull of the item", nullable=False),
        Column("mean_days_between_pulls", "DOUBLE", "Mean of the days from one pull to the next", nullable=False),
        money("first_buyback_price_usd", "Quote of the earliest quoted pull"),
        money("previous_buyback_price_usd", "Quote of the second latest quoted pull"),
        money("latest_buyback_price_usd", "Quote of the latest quoted pull"),
        money("change_usd", "Latest less previous quote"),
        Column("change_ratio", "DOUBLE", "Change over the previous quote: 0.1 is a rise by 10 %"),
        Column("change_since_first_ratio", "DOUBLE", "Latest less first quote, over the first"),
        Column(
            "change_log",
            "DOUBLE",
            "Logarithm of latest over previous quote, for means over items. A mean of `change_ratio` is biased "
            "upwards: the mean of a doubling and a halving is a rise. NULL if a quote is zero",
        ),
        Column("change_since_first_log", "DOUBLE", "Logarithm of latest over first quote"),
    ),
    group="marts",
    sources=("items", "item_days"),
    references=(Reference(("item_id",), "items"),),
)
