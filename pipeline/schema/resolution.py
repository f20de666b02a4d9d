"""Marts of the resolution of sessions: outcomes by day of submission, and the pending sessions by age."""

from pipeline.schema.intermediate import LATENCIES
from pipeline.schema.measures import AS_OF, IS_COMPLETE, count, money, share, share_bounds
from pipeline.schema.table import TIME, Column, Table

RESOLUTION_FUNNEL = Table(
    "resolution_funnel",
    "One row per UTC day of submission.",
    (
        Column("submitted_date", "DATE", "UTC day of `submitted_at`", key=True),
        count("submitted", "Sessions first seen that day"),
        count("fulfilled", "Of these, fulfilled by now"),
        count("failed", "Of these, failed by now"),
        count("pending", "Of these, still pending"),
        count("expired", "Of these, expired"),
        IS_COMPLETE,
        Column(
            "is_mature",
            "BOOLEAN",
            "Whether the day ended at least a day before the end of the data, with at most 1 % of its sessions "
            "pending; until then its rates may change",
            nullable=False,
        ),
        share("failed_rate", "Failed over failed plus fulfilled"),
        *share_bounds("failed_rate", "user, or by session if a failed session has no user"),
        share("failed_rate_at_least", "Failed over all sessions: the rate if no pending or expired session fails"),
        share("failed_rate_at_most", "Failed, pending and expired over all sessions: the rate if all of these fail"),
        *LATENCIES,
    ),
    group="marts",
    sources=("submission_days",),
)

PENDING_AGEING = Table(
    "pending_ageing",
    "One row per age band of pending sessions.",
    (
        Column("age_band", "VARCHAR", "Time from `submitted_at` to `as_of`, in words", key=True),
        count("age_from_seconds", "Lower bound of the band"),
        AS_OF,
        count("session_count", "Pending sessions of that age"),
        count("priced_session_count", "Of these, sessions with a price: as submitted, else from the packs file"),
        money("price_usd", "Sum of the prices of these sessions"),
        Column("oldest_submitted_at", TIME, "When the oldest of these sessions was submitted"),
        Column("oldest_session_ids", "VARCHAR[]", "The ten oldest of these sessions, oldest first"),
    ),
    group="marts",
    sources=("purchases", "reference_packs", "submission_days"),
)
