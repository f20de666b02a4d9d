"""Daily aggregates that the marts roll up."""

from pipeline.schema.staging import PULLS, STATUSES
from pipeline.schema.table import MONEY, TIME, Column, Partition, Table, Zone

_SHOWN_OF_DEAREST = (
    *("session_id", "pull_number", "item_id", "item_type", "buyback_price_usd", "name", "image_url"),
    *("user_id", "pack_id", "multiple", "pulled_at"),
)


LATENCIES = (
    *(
        Column(
            f"latency_p{p}_seconds",
            "DOUBLE",
            f"Percentile {p} of the seconds from initiation (else submission) to the first fulfilled answer, of the "
            "sessions that do not fail (Aalen and Johansen); at most, since polling sees a fulfilment late. NULL where "
            "too many are pending: longer than `latency_followed_seconds`",
        )
        for p in (50, 90, 99)
    ),
    Column("latency_followed_seconds", "DOUBLE", "Longest time over which one of the sessions was followed"),
    Column(
        "fulfilled_when_first_asked",
        "BIGINT",
        "Of the fulfilled ones, those that no answer called pending: their times say how late they were asked",
        nullable=False,
    ),
)


def _of_sessions(name: str, what: str, kind: str = "BIGINT") -> Column:
    return Column(name, kind, f"Over the pulls with a multiple: {what}; NULL if there are none")


DAILY_QUOTE_COUNTS = Table(
    "daily_quote_counts",
    "One row per day of observation and kind of pull: UTC day of pulling, pack, type, price of the session, quote.",
    (
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
        Column("buyback_price_usd", MONEY, "Quoted sellback value", key=True, nullable=True),
        Column("pull_count", "BIGINT", "Pulls of this kind", nullable=False),
        Column("on_chain_count", "BIGINT", "Of these, pulls with a mint address", nullable=False),
        Column("session_count", "BIGINT", "Of these, the lowest quotes of their sessions", nullable=False),
        _of_sessions("session_quotes", "the sum of the numbers of quoted pulls in their sessions"),
        _of_sessions("session_quotes_squared", "the sum of the squares of these numbers"),
        _of_sessions(
            "session_wins", "the sum of the numbers of pulls in their sessions at or above the price per pull"
        ),
        _of_sessions("session_ranks", "the sum of 2 * rank - 1, the rank being that in the session, the lowest 1"),
        _of_sessions("session_capped", "the sum of their sessions' sums of multiples, each capped at 5", "DOUBLE"),
        _of_sessions("session_capped_squared", "the sum of the squares of these sums", "DOUBLE"),
        _of_sessions("session_capped_times_quotes", "the sum of these sums times the quoted pulls", "DOUBLE"),
    ),
    zone=Zone.STAGING,
    partition=Partition.OBSERVED,
    sources=("pulls",),
)

TIER_DAYS = Table(
    "tier_days",
    "One row per pack, version of its tiers, and tiers that sessions answered on a day hit.",
    (
        Column("answered_date", "DATE", "UTC day of `resolved_at`", key=True),
        Column("pack_id", "VARCHAR", "The pack", key=True),
        Column("valid_from", "DATE", "The version of its tiers, by the day of pulling", key=True, nullable=True),
        Column("tier_numbers", "BIGINT[]", "The tier of each quoted pull in ascending order; 0 = in none", key=True),
        Column("session_count", "BIGINT", "Sessions that hit these", nullable=False),
    ),
    zone=Zone.STAGING,
    partition=Partition.OBSERVED,
    sources=("pulls", "reference_tiers"),
)

DAILY_TOP_PULLS = Table(
    "daily_top_pulls",
    "One row per pull among the hundred top pulls of a day.",
    tuple(column for column in PULLS.columns if column.name in _SHOWN_OF_DEAREST),
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
        Column("latest_at", TIME, "Latest submission, request or settling answer of them that is not in the future"),
        Column(
            "buyers",
            "BIGINT",
            "Users of the failed and fulfilled ones; these sessions where a failed one has no user",
            nullable=False,
        ),
        Column(
            "buyer_settled_squared",
            "BIGINT",
            "Sum over them of the square of their failed and fulfilled",
            nullable=False,
        ),
        Column(
            "buyer_failed_squared", "BIGINT", "Sum over them of the square of their failed sessions", nullable=False
        ),
        Column(
            "buyer_failed_times_settled", "BIGINT", "Sum over them of failed times failed and fulfilled", nullable=False
        ),
    ),
    zone=Zone.STAGING,
    partition=Partition.SUBMITTED,
    sources=("purchases",),
)

_USER = Column("user_id", "VARCHAR", "The purchase's user", key=True)

USER_DAYS = Table(
    "user_days",
    "One row per user and UTC day on which sessions of theirs were first seen.",
    (
        _USER,
        Column("purchase_count", "BIGINT", "Sessions first seen that day", nullable=False),
        Column("fulfilled_count", "BIGINT", "Of these, fulfilled", nullable=False),
        Column("first_purchased_at", TIME, "When the first was initiated, else submitted", nullable=False),
        Column("last_purchased_at", TIME, "When the last was initiated, else submitted", nullable=False),
    ),
    zone=Zone.STAGING,
    partition=Partition.SUBMITTED,
    sources=("purchases",),
)

USER_DAILY_QUOTE_COUNTS = Table(
    "user_daily_quote_counts",
    "One row per user and day on which pulls of theirs were answered.",
    (
        _USER,
        Column("pull_count", "BIGINT", "Pulls", nullable=False),
        Column("quoted_pull_count", "BIGINT", "Of these, quoted ones of sessions with a price above 0", nullable=False),
        Column("session_count", "BIGINT", "Sessions that these are of", nullable=False),
        Column("spend_usd", MONEY, "Sum of the prices of these pulls"),
        Column("buyback_total_usd", MONEY, "Sum of their quotes"),
        Column("squares_over_spend", "DOUBLE", "Sum over the sessions of the quotes, squared, over the price"),
    ),
    zone=Zone.STAGING,
    partition=Partition.OBSERVED,
    sources=("pulls",),
)
