"""Raw tables: submissions and answers as received. Append-only; all other tables are derived from them."""

from pipeline.schema.table import MONEY, TIME, Column, Partition, Strategy, Table, Zone

OUTCOMES = ("fulfilled", "failed", "unconfirmed", "pending", "unauthorized", "refused", "transient", "malformed")

SESSION_SUBMISSIONS = Table(
    "session_submissions",
    "One row per row read from an inbox file or from the database, accepted or rejected.",
    (
        Column("content_sha256", "VARCHAR", "SHA-256 of the file's content or of the batch, in hexadecimal", key=True),
        Column(
            "row_number", "BIGINT", "1-based row in the file or batch; 0 for a finding about the whole file", key=True
        ),
        Column(
            "source_file",
            "VARCHAR",
            "Path of the file below the inbox when it was read, or `postgresql: ` and the database",
            key=True,
        ),
        Column("submitted_at", TIME, "When the pipeline read it", nullable=False),
        Column("session_id", "VARCHAR", "The session; NULL if unreadable"),
        Column("initiated_at", TIME, "When the purchase was initiated"),
        Column("pack_id", "VARCHAR", "The pack that was bought"),
        Column("price_usd", MONEY, "Price of the session"),
        Column("quantity", "INTEGER", "Packs bought in the session"),
        Column("user_id", "VARCHAR", "The partner's user"),
        Column("rejected_reason", "VARCHAR", "Reason for the rejection; NULL if the row was accepted"),
        Column("raw_value", "VARCHAR", "The offending text of a rejected row, its first 200 characters"),
        Column(
            "source_cursor",
            "VARCHAR",
            "The row's cursor in the database, as text; NULL in rows of files",
            may_be_missing=True,
        ),
    ),
    zone=Zone.RAW,
    group="raw",
    partition=Partition.SUBMITTED,
)

STATUS_RESPONSES = Table(
    "status_responses",
    "One row per request to buy/status, with the answer verbatim.",
    (
        Column("session_id", "VARCHAR", "The session that was polled", nullable=False),
        Column("requested_at", TIME, "When the request was sent", nullable=False),
        Column("received_at", TIME, "When the answer was complete or the attempt ended", nullable=False),
        Column("http_status", "SMALLINT", "HTTP status; NULL if no answer came"),
        Column("content_type", "VARCHAR", "The answer's Content-Type header"),
        Column("body", "BLOB", "The answer's body, byte for byte, at most 8 MiB; NULL if no answer came"),
        Column("body_sha256", "VARCHAR", "SHA-256 of `body`, in hexadecimal"),
        Column(
            "outcome",
            "VARCHAR",
            "The answer's meaning; a failure is `unconfirmed` until a second request on a fresh connection confirms it",
            nullable=False,
            accepted=OUTCOMES,
        ),
        Column("detail", "VARCHAR", "Explanation of the outcome; NULL if it needs none"),
        Column(
            "has_repeated_keys",
            "BOOLEAN",
            "Whether an object in a final or pending answer has repeated keys; the last one counts. NULL in rows of "
            "earlier versions, where `detail` states it",
            may_be_missing=True,
        ),
    ),
    zone=Zone.RAW,
    group="raw",
    partition=Partition.OBSERVED,
)

SELLBACK_SUBMISSIONS = Table(
    "sellback_submissions",
    "One row per row read from a file of the folder `sellbacks`, accepted or rejected.",
    (
        Column("content_sha256", "VARCHAR", "SHA-256 of the file's content, in hexadecimal", key=True),
        Column("row_number", "BIGINT", "1-based row in the file; 0 for a finding about the whole file", key=True),
        Column("source_file", "VARCHAR", "Path of the file below the folder when it was read", key=True),
        Column("submitted_at", TIME, "When the pipeline read the file", nullable=False),
        Column("item_id", "VARCHAR", "The item that was sold back; NULL if unreadable"),
        Column("session_id", "VARCHAR", "The session of the pull; NULL if not given"),
        Column("sold_at", TIME, "When it was sold back"),
        Column("amount_usd", MONEY, "Amount paid for it"),
        Column("rejected_reason", "VARCHAR", "Reason for the rejection; NULL if the row was accepted"),
        Column("raw_value", "VARCHAR", "The offending text of a rejected row, its first 200 characters"),
    ),
    zone=Zone.RAW,
    group="raw",
    partition=Partition.SUBMITTED,
)

PENDING_SESSIONS = Table(
    "pending_sessions",
    "One row per pending session.",
    (
        Column("session_id", "VARCHAR", "The session", key=True),
        Column("submitted_at", TIME, "When the pipeline first saw the session", nullable=False),
        Column("last_submitted_at", TIME, "When it was last submitted; expiry counts from here", nullable=False),
        Column("initiated_at", TIME, "When the purchase was initiated"),
        Column("poll_count", "BIGINT", "Requests sent so far", nullable=False),
        Column("last_polled_at", TIME, "When it was last polled"),
    ),
    zone=Zone.STAGING,
    group="raw",
    sources=("session_submissions", "status_responses"),
    special_strategy=Strategy.PENDING,
)

# The column with the time at which a row was received. Its UTC day is the day of the row's object.
RECEIVED = {
    SESSION_SUBMISSIONS: "submitted_at",
    SELLBACK_SUBMISSIONS: "submitted_at",
    STATUS_RESPONSES: "received_at",
}
