"""The table that describes the published file. It is in the DuckDB file alone, and in no other place."""

from pipeline.schema.table import TIME, Column, Table

PUBLICATION = Table(
    "publication",
    "One row: the window of days in the DuckDB file, of which the lake has all.",
    (
        Column("publish_days", "INTEGER", "`PHYGITALS_PUBLISH_DAYS` as set; 0 = all days", nullable=False),
        Column(
            "first_day",
            "DATE",
            "First UTC day of the window: of `resolved_date` in `pulls` and of `submitted_date` in `purchases`, where "
            "earlier days may be needed; NULL if the file has all days",
        ),
        Column("last_day", "DATE", "UTC day of the run, the last one of the window; NULL if the file has all days"),
        Column("published_at", TIME, "When the file was made", nullable=False),
    ),
)
