"""The table that describes the published file. It is in the DuckDB file alone, and in no other place."""

from pipeline.schema.table import TIME, Column, Table

PUBLICATION = Table(
    "publication",
    "One row: the window of days in the DuckDB file. The lake has all days.",
    (
        Column("publish_days", "INTEGER", "`PHYGITALS_PUBLISH_DAYS` as set; 0 = all days", nullable=False),
        Column(
            "first_day",
            "DATE",
            "First UTC day of the window, by `resolved_date` in `pulls` and by `submitted_date` in `purchases`, which "
            "may also have earlier days; NULL if the file has all days",
        ),
        Column("last_day", "DATE", "UTC day of the run, the last one of the window; NULL if the file has all days"),
        Column("published_at", TIME, "When the file was made", nullable=False),
    ),
)
