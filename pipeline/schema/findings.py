"""The issues found in the data."""

from pipeline.schema.staging import SEVERITIES
from pipeline.schema.table import TIME, Column, Table

DATA_ISSUES = Table(
    "data_issues",
    "One row per issue.",
    (
        Column("rule", "VARCHAR", "Name of the rule", nullable=False),
        Column("severity", "VARCHAR", "`error`, `warning` or `info`", nullable=False, accepted=SEVERITIES),
        Column("table_name", "VARCHAR", "Table that has the issue", nullable=False),
        Column("session_id", "VARCHAR", "The session, if there is one"),
        Column("pull_number", "INTEGER", "The pull, if there is one"),
        Column("source", "VARCHAR", "File and row, database and cursor, or SHA-256 of the answer's body"),
        Column("field", "VARCHAR", "Field or JSON path"),
        Column("detail", "VARCHAR", "Description of the issue", nullable=False),
        Column("raw_value", "VARCHAR", "First 200 characters of the received value"),
        Column("observed_at", TIME, "Time of receipt", nullable=False),
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
