"""Marts that compare groups: packs by week, users, and sets of cards."""

from pipeline.schema.table import MONEY, SHARE, TIME, Column, Table

_RETURN = "`buyback_total_usd` over `spend_usd`; a few large quotes dominate it"
_SPEND = Column("spend_usd", MONEY, "Sum of the prices of the quoted pulls, each the session's price over its pulls")
_QUOTED = Column(
    "quoted_pull_count",
    "BIGINT",
    "Quoted pulls of sessions with a price above zero; the base of spend, buyback and return",
    nullable=False,
)
_BUYBACK = Column("buyback_total_usd", MONEY, "Sum of the quotes of the same pulls")

PACK_WEEKS = Table(
    "pack_weeks",
    "One row per pack and ISO week of pulling, for sessions with a known price, on a quoted-buyback basis.",
    (
        Column("pack_id", "VARCHAR", "The pack", key=True),
        Column("week_start_date", "DATE", "Monday of the UTC week of pulling", key=True),
        Column("iso_week", "VARCHAR", "The week as ISO 8601 names it, such as `2026-W05`", nullable=False),
        Column(
            "is_complete",
            "BOOLEAN",
            "Whether the week was over at the end of the data; if not, the week is partial",
            nullable=False,
        ),
        Column("pull_count", "BIGINT", "Pulls", nullable=False),
        Column(
            "free_pull_count", "BIGINT", "Of these, pulls of free sessions, which have no multiples", nullable=False
        ),
        _QUOTED,
        Column("quoted_session_count", "BIGINT", "Sessions of these pulls", nullable=False),
        _SPEND,
        _BUYBACK,
        Column("return_ratio", "DOUBLE", _RETURN),
        Column(
            "win_rate", "DOUBLE", "Share of the quoted pulls with a quote at or above the price per pull", unit=SHARE
        ),
        Column(
            "win_rate_low",
            "DOUBLE",
            "Lower bound of the 95 % interval of `win_rate` (Wilson, clustered by session)",
            unit=SHARE,
        ),
        Column("win_rate_high", "DOUBLE", "Upper bound of this interval", unit=SHARE),
        Column("multiple_median", "DOUBLE", "Median of quote over price per pull"),
        Column("multiple_mean_capped_5x", "DOUBLE", "Mean of quote over price per pull, each capped at 5"),
    ),
    group="marts",
    sources=("pack_week_periods", "daily_quote_counts", "submission_days"),
)

USERS = Table(
    "users",
    "One row per user, on a quoted-buyback basis.",
    (
        Column("user_id", "VARCHAR", "The user, from the answer, else as submitted", key=True),
        Column("purchase_count", "BIGINT", "Sessions submitted", nullable=False),
        Column("fulfilled_count", "BIGINT", "Of these, fulfilled", nullable=False),
        Column("pull_count", "BIGINT", "Pulls", nullable=False),
        _QUOTED,
        _SPEND,
        _BUYBACK,
        Column("return_ratio", "DOUBLE", _RETURN),
        Column(
            "return_ratio_shrunk",
            "DOUBLE",
            "For comparing users: the return ratio of all users, times the user's mean multiple over that of all "
            "users. Multiples are capped at 5, and the user's mean is shrunk towards that of all users, more so with "
            "fewer pulls. If users differ by chance only, all users nearly always have the same value. NULL if no "
            "user has two sessions with a price",
        ),
        Column("first_purchased_at", TIME, "Time of the first session: initiated, else submitted", nullable=False),
        Column("first_purchased_date", "DATE", "UTC day of `first_purchased_at`", nullable=False),
        Column("last_purchased_at", TIME, "Time of the last session: initiated, else submitted", nullable=False),
        Column("last_purchased_date", "DATE", "UTC day of `last_purchased_at`", nullable=False),
    ),
    group="marts",
    sources=("user_periods", "user_period_quote_counts"),
)

SET_VALUES = Table(
    "set_values",
    "One row per category, set, year, grader and grade of items, according to their latest pulls.",
    (
        *(
            Column(name, kind, f"As in `items`; NULL if {absence}", key=True, nullable=True)
            for name, kind, absence in (
                ("category", "VARCHAR", "the item has none"),
                ("set_name", "VARCHAR", "the item has none"),
                ("year_number", "INTEGER", "none could be read"),
                ("grader", "VARCHAR", "none could be read"),
                ("grade_number", "DOUBLE", "none could be read"),
                ("grade_label", "VARCHAR", "none could be read. A PRISTINE 10 is worth more than a GEM MINT 10"),
            )
        ),
        Column("item_count", "BIGINT", "Distinct items", nullable=False),
        Column("pull_count", "BIGINT", "Pulls of these items", nullable=False),
        Column("priced_item_count", "BIGINT", "Items whose latest pull has a quote", nullable=False),
        Column("buyback_median_usd", MONEY, "Median of the items' latest quotes, interpolated"),
        Column("buyback_max_usd", MONEY, "Highest quote of any pull of these items"),
        Column("insured_item_count", "BIGINT", "Items with both a latest quote and an insured value", nullable=False),
        Column("insured_value_usd", MONEY, "Sum of the insured values of these items"),
        Column("insured_value_ratio", "DOUBLE", "Sum of the latest quotes of these items over `insured_value_usd`"),
    ),
    group="marts",
    sources=("items",),
)
