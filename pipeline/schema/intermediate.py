"""Daily aggregates that the marts roll up."""

import dataclasses

from pipeline.schema.staging import PULLS, STATUSES
from pipeline.schema.table import MONEY, TIME, Column, Partition, Strategy, Table, Zone

_TOP_PULL_COLUMNS = (
    *("session_id", "pull_number", "item_id", "item_type", "buyback_price_usd", "name", "image_url"),
    *("user_id", "pack_id", "multiple", "pulled_at"),
)


LATENCIES = (
    *(
        Column(
            f"latency_p{p}_seconds",
            "DOUBLE",
            f"Percentile {p} of the seconds from initiation (else submission) to the first fulfilled answer, among "
            "sessions that do not fail (Aalen and Johansen). An upper limit, since polling notices a fulfilment late. "
            "NULL if too many sessions are pending; the percentile then exceeds `latency_followed_seconds`",
        )
        for p in (50, 90, 99)
    ),
    Column("latency_followed_seconds", "DOUBLE", "Longest follow-up of a session: until it was final or last polled"),
    Column(
        "fulfilled_when_first_asked",
        "BIGINT",
        "Of the fulfilled sessions, those without a pending answer; their latency measures the delay of the first poll",
        nullable=False,
    ),
)


def _of_sessions(name: str, sum_: str, kind: str) -> Column:
    return Column(name, kind, f"Over the pulls with a multiple: {sum_}; NULL if there are none")


def _quote_counts(sum_type: str) -> tuple[Column, ...]:
    return (
        Column("pulled_date", "DATE", "UTC day of `pulled_at`", key=True),
        Column("pack_id", "VARCHAR", "The pack; NULL if not submitted", key=True, nullable=True),
        Column("item_type", "VARCHAR", "The type as sent; `unknown` if absent", key=True),
        Column(
            "session_price_usd",
            MONEY,
            "Price of the session: as submitted, else from the packs file times the packs bought; NULL if unknown",
            key=True,
            nullable=True,
        ),
        Column("pulls_a_session", "BIGINT", "Pulls of the session; NULL without a price", key=True, nullable=True),
        Column("buyback_price_usd", MONEY, "Quote", key=True, nullable=True),
        Column("pull_count", "BIGINT", "Pulls of this combination", nullable=False),
        Column("on_chain_count", "BIGINT", "Of these, pulls with a mint address", nullable=False),
        Column("session_count", "BIGINT", "Of these, pulls with the lowest quote of their session", nullable=False),
        _of_sessions("session_quotes", "the sum of the numbers of quoted pulls in their sessions", "BIGINT"),
        _of_sessions("session_quotes_squared", "the sum of the squares of these numbers", "BIGINT"),
        _of_sessions(
            "session_wins",
            "the sum of the numbers of pulls in their sessions at or above the price per pull",
            "BIGINT",
        ),
        _of_sessions(
            "session_ranks", "the sum of 2 * rank - 1, with the rank in the session; the lowest quote is 1", "BIGINT"
        ),
        _of_sessions("session_capped", "the sum of their sessions' sums of multiples, each capped at 5", sum_type),
        _of_sessions("session_capped_squared", "the sum of the squares of these sums", sum_type),
        _of_sessions("session_capped_times_quotes", "the sum of these sums times the quoted pulls", sum_type),
    )


PART_QUOTE_COUNTS = Table(
    "part_quote_counts",
    "One row per part of a day of observation and combination of day of pulling, pack, type, session price, pulls and "
    "quote.",
    _quote_counts("DECIMAL(38,15)"),  # a sum of floating-point numbers would depend on how the day is cut
    zone=Zone.STAGING,
    partition=Partition.OBSERVED,
    sources=("pulls",),
)

DAILY_QUOTE_COUNTS = Table(
    "daily_quote_counts",
    "One row per day of observation and combination of day of pulling, pack, type, session price, pulls and quote.",
    _quote_counts("DOUBLE"),
    zone=Zone.STAGING,
    partition=Partition.OBSERVED,
    sources=("part_quote_counts",),
    special_strategy=Strategy.BY_DAY,
)

TIER_DAYS = Table(
    "tier_days",
    "One row per part of a day of observation, pack, version of its tiers, and tiers hit by a session.",
    (
        Column("answered_date", "DATE", "UTC day of `resolved_at`", key=True),
        Column("pack_id", "VARCHAR", "The pack", key=True),
        Column("valid_from", "DATE", "The version of its tiers, by the day of pulling", key=True, nullable=True),
        Column("tier_numbers", "BIGINT[]", "The tier of each quoted pull in ascending order; 0 = in none", key=True),
        Column("session_count", "BIGINT", "Sessions that hit exactly these tiers", nullable=False),
    ),
    zone=Zone.STAGING,
    partition=Partition.OBSERVED,
    sources=("pulls", "reference_tiers"),
)

DAILY_TOP_PULLS = Table(
    "daily_top_pulls",
    "One row per pull among the hundred top pulls of a part of a day.",
    tuple(column for column in PULLS.columns if column.name in _TOP_PULL_COLUMNS),
    zone=Zone.STAGING,
    partition=Partition.OBSERVED,
    sources=("pulls",),
)

LATE_REQUESTS = Table(
    "late_requests",
    "One row per session that was polled again after its first final answer.",
    (Column("session_id", "VARCHAR", "The session", key=True),),
    zone=Zone.STAGING,
    partition=Partition.SUBMITTED,
    sources=("purchases",),
)

SUBMISSION_DAYS = Table(
    "submission_days",
    "One row per UTC day on which sessions were first seen.",
    (
        Column("submitted_date", "DATE", "UTC day of `submitted_at`", key=True),
        Column("submitted", "BIGINT", "Sessions first seen that day", nullable=False),
        *(Column(status, "BIGINT", f"Of these, sessions with status {status}", nullable=False) for status in STATUSES),
        *LATENCIES,
        Column("latest_at", TIME, "Latest submission, request or final answer of these sessions, not in the future"),
        Column(
            "buyers",
            "BIGINT",
            "Users of the failed and fulfilled sessions; the number of these sessions if a failed one has no user",
            nullable=False,
        ),
        Column(
            "buyer_settled_squared",
            "BIGINT",
            "Sum over buyers of the square of their failed and fulfilled sessions",
            nullable=False,
        ),
        Column(
            "buyer_failed_squared", "BIGINT", "Sum over buyers of the square of their failed sessions", nullable=False
        ),
        Column(
            "buyer_failed_times_settled",
            "BIGINT",
            "Sum over buyers of their failed sessions times their failed and fulfilled sessions",
            nullable=False,
        ),
    ),
    zone=Zone.STAGING,
    partition=Partition.SUBMITTED,
    sources=("purchases",),
    special_strategy=Strategy.BY_DAY,  # percentiles of a day do not follow from those of its parts
)

_USER = Column("user_id", "VARCHAR", "The purchase's user", key=True)

USER_DAYS = Table(
    "user_days",
    "One row per user and part of a day in which the user's sessions were first seen.",
    (
        _USER,
        Column("purchase_count", "BIGINT", "Sessions first seen in the part", nullable=False),
        Column("fulfilled_count", "BIGINT", "Of these, fulfilled", nullable=False),
        Column("first_purchased_at", TIME, "Time of the first session: initiated, else submitted", nullable=False),
        Column("last_purchased_at", TIME, "Time of the last session: initiated, else submitted", nullable=False),
    ),
    zone=Zone.STAGING,
    partition=Partition.SUBMITTED,
    sources=("purchases",),
)

USER_DAILY_QUOTE_COUNTS = Table(
    "user_daily_quote_counts",
    "One row per part of a day of observation and user.",
    (
        _USER,
        Column("pull_count", "BIGINT", "Pulls", nullable=False),
        Column("quoted_pull_count", "BIGINT", "Of these, quoted ones of sessions with a price above 0", nullable=False),
        Column("session_count", "BIGINT", "Sessions of these quoted pulls", nullable=False),
        Column("spend_usd", MONEY, "Sum of the prices of these pulls"),
        Column("buyback_total_usd", MONEY, "Sum of their quotes"),
        Column("quotes_squared", "BIGINT", "Sum over these sessions of the number of their quoted pulls, squared"),
        Column("capped", "DECIMAL(38,15)", "Sum of the multiples of these pulls, each capped at 5"),
        Column("capped_squared", "DECIMAL(38,15)", "Sum over these sessions of their sum of capped multiples, squared"),
        Column("capped_times_quotes", "DECIMAL(38,15)", "The same for this sum times the number of quoted pulls"),
    ),
    zone=Zone.STAGING,
    partition=Partition.OBSERVED,
    sources=("pulls",),
)

USER_PERIODS = Table(
    "user_periods",
    "One row per user and period in which the user's sessions were first seen.",
    (
        _USER,
        Column("purchase_count", "BIGINT", "Sessions first seen in the period", nullable=False),
        Column("fulfilled_count", "BIGINT", "Of these, fulfilled", nullable=False),
        Column("first_purchased_at", TIME, "Time of the first session: initiated, else submitted", nullable=False),
        Column("last_purchased_at", TIME, "Time of the last session: initiated, else submitted", nullable=False),
    ),
    zone=Zone.STAGING,
    partition=Partition.SUBMITTED,
    sources=("user_days",),
    special_strategy=Strategy.BY_PERIOD,
)

_SUM = "DECIMAL(38,4)"  # of money; the mart decides whether the sum of all periods is too large

USER_PERIOD_QUOTE_COUNTS = Table(
    "user_period_quote_counts",
    "One row per period of observation and user.",
    tuple(
        dataclasses.replace(column, type=_SUM) if column.type == MONEY else column
        for column in USER_DAILY_QUOTE_COUNTS.columns
    ),
    zone=Zone.STAGING,
    partition=Partition.OBSERVED,
    sources=("user_daily_quote_counts",),
    special_strategy=Strategy.BY_PERIOD,
)

PACK_WEEK_PERIODS = Table(
    "pack_week_periods",
    "One row per period of observation, pack and ISO week of pulling, for sessions with a known price.",
    (
        Column("pack_id", "VARCHAR", "The pack", key=True),
        Column("week_start_date", "DATE", "Monday of the UTC week of pulling", key=True),
        Column("pull_count", "BIGINT", "Pulls", nullable=False),
        Column("free_pull_count", "BIGINT", "Of these, pulls of free sessions", nullable=False),
        Column("quoted_pull_count", "BIGINT", "Quoted pulls of the other sessions", nullable=False),
        Column("quoted_session_count", "BIGINT", "Sessions of these quoted pulls", nullable=False),
        Column(
            "prices",
            f"STRUCT(session_price_usd {MONEY}, pulls_a_session BIGINT, quoted_pull_count BIGINT)[]",
            "The quoted pulls by price and pulls of their sessions; NULL if there are none",
        ),
        Column("buyback_total_usd", _SUM, "Sum of their quotes", unit="USD"),
        Column("win_count", "BIGINT", "Of the quoted pulls, those at or above the price per pull", nullable=False),
        Column("session_quotes", "BIGINT", "Sum over the quoted pulls of the quoted pulls in their sessions"),
        Column("win_session_wins", "BIGINT", "Sum over the wins of the wins in their sessions", nullable=False),
        Column(
            "win_session_quotes", "BIGINT", "Sum over the wins of the quoted pulls in their sessions", nullable=False
        ),
        Column("capped", "DECIMAL(38,15)", "Sum of the multiples, each capped at 5"),
        Column("multiple_median", "DOUBLE", "Median of the period's multiples"),
    ),
    zone=Zone.STAGING,
    partition=Partition.OBSERVED,
    sources=("daily_quote_counts",),
    special_strategy=Strategy.BY_PERIOD,
)
