"""The kinds of records that intake reads, and their differences."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.schema.raw import SELLBACK_SUBMISSIONS, SESSION_SUBMISSIONS
from pipeline.schema.table import Table
from pipeline.sources.columns import COLUMNS, SELLBACK_COLUMNS
from pipeline.sources.rows import Sellback, Submission, parse_sellback, parse_submission
from pipeline.storage.layout import Layout


@dataclass(frozen=True)
class Kind:
    """The kind of record in a folder of files.

    `folder` is its name below the data directory. Each file must have the first of the `columns`. Records with equal
    values in `identity`, whose first column is never NULL, are duplicates. `parse` returns an object with the columns
    as attributes, or raises RowError. `refused_formats` maps a format to the reason for which its files are rejected
    whole. `remedy` is the advice for a file without new content.
    """

    folder: str
    table: Table
    columns: tuple[str, ...]
    identity: tuple[str, ...]
    parse: Callable[[Mapping[str, Any]], Submission | Sellback]
    refused_formats: Mapping[str, str] = field(default_factory=dict)
    remedy: str | None = None

    def path(self, data: Layout) -> Path:
        """The folder in a data directory."""
        return data.intake_folder(self.folder)


SESSIONS = Kind(
    folder="inbox",
    table=SESSION_SUBMISSIONS,
    columns=COLUMNS,
    identity=("session_id",),
    parse=parse_submission,
    remedy="to poll expired sessions again, submit their ids: `phygitals submit ID...`",
)
# Only the partner knows about sellbacks, since the partner's backend makes these calls.
SELLBACKS = Kind(
    folder="sellbacks",
    table=SELLBACK_SUBMISSIONS,
    columns=SELLBACK_COLUMNS,
    identity=SELLBACK_COLUMNS,
    parse=parse_sellback,
    refused_formats={
        "txt": "a .txt file has ids only, but a sellback has a time; use one of .csv, .jsonl, .ndjson, .parquet"
    },
)
