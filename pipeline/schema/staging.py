"""Staging tables: purchases, pulls and attributes, and the intermediate tables before them."""

from pipeline.schema.answer import ITEM, METADATA, RESULT, columns_of, struct_of
from pipeline.schema.table import MONEY, TIME, Column, Partition, Reference, Strategy, Table, Zone

_ATTRIBUTE = 'STRUCT(trait_type VARCHAR, "value" VARCHAR, value_type VARCHAR)'
_PROBLEM = (
    "STRUCT(pull_number INTEGER, rule VARCHAR, severity VARCHAR, field VARCHAR, detail VARCHAR, raw_value VARCHAR)"
)

STATUSES = ("pending", "fulfilled", "failed", "expired")
SEVERITIES = ("error", "warning", "info")

SESSION_DAY_POLLS = Table(
    "session_day_polls",
    "One row per session and part of a day in which it was polled.",
    (
        Column("session_id", "VARCHAR", "The session", key=True),
        Column("poll_count", "BIGINT", "Requests of the part", nullable=False),
        Column("first_polled_at", TIME, "First request of the part", nullable=False),
        Column("last_polled_at", TIME, "Last request of the part", nullable=False),
        Column("last_pending_at", TIME, "Last pending answer of the part"),
        Column("final_outcome", "VARCHAR", "`fulfilled` or `failed`, from the part's first final answer"),
        Column("final_at", TIME, "When that answer came"),
        Column("last_final_at", TIME, "When the part's last final answer came"),
        Column("final_body_sha256", "VARCHAR", "SHA-256 of the body of the part's first final answer"),
        Column("has_reply", "BOOLEAN", "Whether any answer came in the part, with any outcome", nullable=False),
        Column("lost_count", "BIGINT", "Requests after the part's last answer that brought none", nullable=False),
        Column("last_loss", "VARCHAR", "Problem of the last of these requests"),
        Column(
            "may_have_late_answer",
            "BOOLEAN",
            "Whether an answer may have come after the first final one, judging by the part's answers alone",
            nullable=False,
        ),
    ),
    zone=Zone.STAGING,
    partition=Partition.OBSERVED,
    sources=("status_responses",),
)

_RESULT_COLUMNS = (
    Column("session_id", "VARCHAR", "The session", key=True),
    Column("received_at", TIME, "When the answer came", nullable=False),
    Column("body_sha256", "VARCHAR", "SHA-256 of the answer's body", nullable=False),
    *columns_of(RESULT),
    Column("item_count", "BIGINT", "Items in the answer"),
    Column("unlinked_count", "BIGINT", "Of these, items without a link to an image"),
    Column(
        "buyback_value_usd",
        MONEY,
        "Sum of the items' quotes, each rounded to four places; NULL if none is quoted or the sum is 10^14 or more",
    ),
    Column("items", f"{struct_of(ITEM)}[]", "The answer's `nfts` in their order, without their attributes"),
    # Separate from the items: DuckDB reads a nested column whole, and different tables read the two.
    Column("attributes", f"{_ATTRIBUTE}[][]", "The attributes of each item, in the items' order"),
    Column("problems", f"{_PROBLEM}[]", "Problems of the answer and its items; NULL for a plain answer"),
)

FULFILLED_RESULTS = Table(
    "fulfilled_results",
    "One row per session and part of a day with a fulfilled answer: the part's first one, parsed into typed columns.",
    _RESULT_COLUMNS,
    zone=Zone.STAGING,
    partition=Partition.OBSERVED,
    sources=("status_responses",),
    reads_answer_text=True,
    steps=(
        Table(
            "slow_path_results",
            "One row per session with several fulfilled answers in the part, or with one that is not plain.",
            _RESULT_COLUMNS,
            zone=Zone.STAGING,
            sources=("status_responses",),
            reads_answer_text=True,
        ),
    ),
)

FINAL_AND_MALFORMED_ANSWERS = Table(
    "final_and_malformed_answers",
    "One row per final, unconfirmed or malformed answer, or with an implausible Retry-After, without its body.",
    (
        Column("session_id", "VARCHAR", "The session", nullable=False),
        Column("received_at", TIME, "When the answer came", nullable=False),
        Column("outcome", "VARCHAR", "The answer's meaning", nullable=False),
        Column("detail", "VARCHAR", "Explanation of the outcome; NULL if it needs none"),
        Column("body_sha256", "VARCHAR", "SHA-256 of the body"),
        Column("excerpt", "VARCHAR", "The first 200 characters of the body"),
    ),
    zone=Zone.STAGING,
    partition=Partition.OBSERVED,
    sources=("status_responses",),
)

ANSWER_FINDINGS = Table(
    "answer_findings",
    "One row per problem of a fulfilled answer of a day, or of all of that day's answers.",
    (
        Column("rule", "VARCHAR", "Short name of the rule that found it", nullable=False),
        Column("severity", "VARCHAR", "`error`, `warning` or `info`", nullable=False),
        Column("table_name", "VARCHAR", "Table with the problem", nullable=False),
        Column("session_id", "VARCHAR", "The session; NULL for a problem of all of the day's answers"),
        Column("pull_number", "INTEGER", "The pull; NULL if the problem does not concern a single pull"),
        Column("body_sha256", "VARCHAR", "SHA-256 of the body of the (first) answer concerned", nullable=False),
        Column("field", "VARCHAR", "Field or JSON path"),
        Column("detail", "VARCHAR", "Description of the problem", nullable=False),
        Column("raw_value", "VARCHAR", "First 200 characters of the received value"),
        Column("received_at", TIME, "When the answer came", nullable=False),
    ),
    zone=Zone.STAGING,
    partition=Partition.OBSERVED,
    sources=("fulfilled_results",),
    special_strategy=Strategy.BY_DAY,  # of several answers of a session on one day, the first counts
)

UNKNOWN_FIELDS = Table(
    "unknown_fields",
    "One row per JSON path of the answers of a part of a day that the API's reference does not document.",
    (
        Column("path", "VARCHAR", "JSON path, list positions as [*]", key=True),
        Column("occurrence_count", "BIGINT", "Occurrences in the part", nullable=False),
        Column("first_seen_at", TIME, "When it was first received in the part", nullable=False),
        Column("last_seen_at", TIME, "When it was last received in the part", nullable=False),
    ),
    zone=Zone.STAGING,
    partition=Partition.OBSERVED,
    sources=("status_responses",),
    reads_answer_text=True,
)

PURCHASES = Table(
    "purchases",
    "One row per submitted session.",
    (
        Column("session_id", "VARCHAR", "The session, as returned by buy/init", key=True),
        Column("status", "VARCHAR", "`pending`, `fulfilled`, `failed` or `expired`", nullable=False, accepted=STATUSES),
        Column("initiated_at", TIME, "When the purchase was initiated, as submitted"),
        Column("initiated_date", "DATE", "UTC day of `initiated_at`"),
        Column("submitted_at", TIME, "When the pipeline first saw the session", nullable=False),
        Column("submitted_date", "DATE", "UTC day of `submitted_at`", nullable=False),
        Column("first_polled_at", TIME, "When the first request for it was sent"),
        Column("last_polled_at", TIME, "When the latest request for it was sent"),
        Column("resolved_at", TIME, "When the final answer came; NULL until then"),
        Column("resolved_date", "DATE", "UTC day of `resolved_at`"),
        Column("poll_count", "BIGINT", "Requests sent for it", nullable=False),
        Column("pack_id", "VARCHAR", "The pack, as submitted"),
        Column("price_usd", MONEY, "Price of the session, as submitted"),
        Column("quantity", "INTEGER", "Packs bought, as submitted"),
        Column("user_id", "VARCHAR", "The answer's user, else the submission's"),
        *(column for column in columns_of(RESULT) if column.name != "user_id"),
        Column("is_sandbox", "BOOLEAN", "Whether `tx_hash` is from a sandbox; NULL if there is none"),
        Column("pull_count", "BIGINT", "Items in the fulfilled answer; NULL until fulfilled"),
        Column(
            "buyback_value_usd",
            MONEY,
            "Sum of the items' quotes; NULL if none is quoted or the sum is 10^14 or more",
        ),
        Column(
            "last_pending_at",
            TIME,
            "Time of the latest pending answer, before which the session was not final; NULL if there is none",
        ),
        Column(
            "source_file",
            "VARCHAR",
            "Inbox file, or `postgresql: ` and the database, that first named the session",
            nullable=False,
        ),
    ),
    group="staging",
    partition=Partition.SUBMITTED,
    sources=("session_submissions", "session_day_polls", "fulfilled_results"),
    special_strategy=Strategy.PURCHASES,
)

PULLS = Table(
    "pulls",
    "One row per item of a fulfilled session. The same item in two sessions is two pulls.",
    (
        Column("session_id", "VARCHAR", "The session", key=True),
        Column("pull_number", "INTEGER", "1-based position of the item in the answer", key=True),
        *columns_of(ITEM),
        Column("is_on_chain", "BOOLEAN", "Whether the item has a mint address", nullable=False),
        *columns_of(METADATA),
        Column("user_id", "VARCHAR", "The purchase's user"),
        Column("pack_id", "VARCHAR", "The purchase's pack"),
        Column(
            "session_price_usd",
            MONEY,
            "Price of the session: as submitted, else from the packs file times the packs bought; NULL if unknown",
        ),
        Column("price_per_pull_usd", MONEY, "`session_price_usd` over the session's pulls, rounded half up"),
        Column(
            "multiple",
            "DOUBLE",
            "Quote over unrounded price per pull; NULL without a quote, without a price and for free sessions",
        ),
        Column("pulled_at", TIME, "When the purchase was initiated, or resolved if that is unknown", nullable=False),
        Column("pulled_date", "DATE", "UTC day of `pulled_at`", nullable=False),
        Column("resolved_at", TIME, "When the fulfilled answer came", nullable=False),
        Column("resolved_date", "DATE", "UTC day of `resolved_at`", nullable=False),
    ),
    group="staging",
    partition=Partition.OBSERVED,
    sources=("fulfilled_results", "purchases", "reference_packs"),
    references=(Reference(("session_id",), "purchases"),),
)

ITEM_ATTRIBUTES = Table(
    "item_attributes",
    "One row per attribute of a pull.",
    (
        Column("session_id", "VARCHAR", "The session", key=True),
        Column("pull_number", "INTEGER", "The pull within the session", key=True),
        Column("attribute_number", "INTEGER", "1-based position among the attributes kept", key=True),
        Column("item_id", "VARCHAR", "The item"),
        Column("trait_type", "VARCHAR", "The attribute's name; NULL if it has none"),
        Column("value", "VARCHAR", "The value as text; objects, arrays, numbers and booleans as JSON"),
        Column(
            "value_type",
            "VARCHAR",
            "`string`, `number`, `boolean`, `null`, `object` or `array`",
            nullable=False,
            accepted=("string", "number", "boolean", "null", "object", "array"),
        ),
        Column("value_number", "DOUBLE", "The numeric value of a number or a numeric string; else NULL"),
    ),
    group="staging",
    partition=Partition.OBSERVED,
    sources=("fulfilled_results", "purchases"),
    references=(Reference(("session_id", "pull_number"), "pulls"),),
)
