"""What looks wrong in the data."""

from pipeline.schema.staging import SEVERITIES
from pipeline.schema.table import TIME, Column, Table

DATA_ISSUES = Table(
    "data_issues",
    "One row per finding.",
    (
        Column("rule", "VARCHAR", "Short name of the rule that found it", nullable=False),
        Column("severity", "VARCHAR", "`error`, `warning` or `info`", nullable=False, accepted=SEVERITIES),
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
        "sellback_submissions",
        "sellback_records",
        "reference_pack_rows",
        "session_day_polls",
        "final_and_malformed_answers",
        "answer_findings",
        "unknown_fields",
        "purchases",
        "late_requests",
        "pulls",
    ),
)
