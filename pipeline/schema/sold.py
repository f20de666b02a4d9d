"""Sellbacks of pulled items, from the partner's records. Without records these tables are empty."""

from pipeline.schema.table import MONEY, SHARE, TIME, Column, Reference, Table, Zone

SELLBACK_RECORDS = Table(
    "sellback_records",
    "One row per accepted record of a sellback with a plausible time, joined to its pull.",
    (
        Column("content_sha256", "VARCHAR", "The file's SHA-256", key=True),
        Column("row_number", "BIGINT", "The row in the file", key=True),
        Column("source_file", "VARCHAR", "The file", key=True),
        Column("submitted_at", TIME, "Time at which the pipeline read the file", nullable=False),
        Column("item_id", "VARCHAR", "The item", nullable=False),
        Column("sold_at", TIME, "When it was sold back", nullable=False),
        Column("amount_usd", MONEY, "Amount paid for the item"),
        Column("session_id", "VARCHAR", "The session of the pull; NULL if no pull matches"),
        Column("pull_number", "INTEGER", "The pull within the session"),
        Column("item_type", "VARCHAR", "As in the pull"),
        Column("buyback_price_usd", MONEY, "As in the pull"),
        Column("pulled_date", "DATE", "As in the pull"),
        Column("resolved_at", TIME, "As in the pull"),
        Column("occurrence", "BIGINT", "1 for the first record of the pull, which counts"),
    ),
    zone=Zone.STAGING,
    sources=("sellback_submissions", "pulls"),
)

SELLBACKS = Table(
    "sellbacks",
    "One row per pull that was sold back according to the records in the folder `sellbacks`; empty without records.",
    (
        Column("session_id", "VARCHAR", "The session of the pull", key=True),
        Column("pull_number", "INTEGER", "The pull within the session", key=True),
        Column("item_id", "VARCHAR", "The item", nullable=False),
        Column("item_type", "VARCHAR", "The type as sent; `unknown` where absent", nullable=False),
        Column("pulled_date", "DATE", "UTC day of the pull", nullable=False),
        Column("sold_at", TIME, "When it was sold back", nullable=False),
        Column("sold_date", "DATE", "UTC day of `sold_at`", nullable=False),
        Column(
            "quote_age_seconds", "DOUBLE", "Time from the answer with the quote to the sale; 0 if the sale was earlier"
        ),
        Column("days_since_pull", "BIGINT", "UTC days from `pulled_date` to `sold_date`; at least 0", nullable=False),
        Column("buyback_price_usd", MONEY, "The quote"),
        Column("amount_usd", MONEY, "Amount paid; NULL if not recorded"),
        Column("resolved_at", TIME, "Time of the answer with the quote", nullable=False),
        Column("submitted_at", TIME, "Time at which the pipeline read the record", nullable=False),
        Column("source_file", "VARCHAR", "File of the record", nullable=False),
    ),
    group="staging",
    sources=("sellback_records",),
    references=(Reference(("session_id", "pull_number"), "pulls"),),
)

_BY_DAYS = "(Student's t, clustered by day of sale; NULL below 10 days)"

QUOTE_ACCURACY = Table(
    "quote_accuracy",
    "One row per age band (time from quote to sale) and item type: amounts paid compared with quotes.",
    (
        Column("age_band", "VARCHAR", "Time from the quote to the sale, in words", key=True),
        Column("item_type", "VARCHAR", "The type as sent; `unknown` where absent", key=True),
        Column("age_from_seconds", "BIGINT", "Lower bound of the band", nullable=False),
        Column("sold_count", "BIGINT", "Pulls sold back with both a quote and an amount", nullable=False),
        Column("day_count", "BIGINT", "UTC days on which these pulls were sold", nullable=False),
        Column("quoted_usd", MONEY, "Sum of their quotes"),
        Column("realised_usd", MONEY, "Sum of the amounts paid for them"),
        Column("realised_ratio", "DOUBLE", "`realised_usd` over `quoted_usd`; 1 if all were paid as quoted"),
        Column("realised_ratio_low", "DOUBLE", f"Lower bound of the 95 % interval of `realised_ratio` {_BY_DAYS}"),
        Column("realised_ratio_high", "DOUBLE", f"Upper bound of the 95 % interval of `realised_ratio` {_BY_DAYS}"),
        Column("at_quote_share", "DOUBLE", "Share of these pulls paid exactly as quoted", unit=SHARE),
    ),
    group="marts",
    sources=("sellbacks",),
)

SELLBACK_SHARES = Table(
    "sellback_shares",
    "One row per number of UTC days since the pull: the share of pulls sold back by then (Kaplan-Meier estimate).",
    (
        Column("days_since_pull", "BIGINT", "UTC days from the pull to the sale", key=True),
        Column(
            "at_risk_count",
            "BIGINT",
            "Pulls that could be sold on that day: pulled on or after the day of the first sale, not sold earlier, and "
            "followed for that many days. Follow-up ends on the day of the last sale, or on the day on which its "
            "record was read if that is earlier",
            nullable=False,
        ),
        Column("sold_count", "BIGINT", "Of these, sold on that day", nullable=False),
        Column("sold_share", "DOUBLE", "Share sold back within that many days after the pull", unit=SHARE),
    ),
    group="marts",
    sources=("sellbacks", "daily_quote_counts"),
)
