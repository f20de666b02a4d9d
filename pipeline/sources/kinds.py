"""Which kinds of records are taken in, and what is particular to each: the rest of intake is the same for all."""

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
    """What a folder of files holds records of.

    `folder` is its name below the data directory. Of the `columns`, each file must have the first. Records that are
    equal in `identity`, in which the first column is never NULL, say the same: the later ones are duplicates. `parse`
    makes an object with the columns as attributes, or raises RowError. `refused_formats` says why files of some formats
    are rejected whole, and `remedy` what to do when a file brings nothing new.
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
    remedy="to have expired sessions asked again, submit their ids: `phygitals submit ID...`",
)
# What was sold back only the partner knows, whose backend makes these calls.
SELLBACKS = Kind(
    folder="sellbacks",
    table=SELLBACK_SUBMISSIONS,
    columns=SELLBACK_COLUMNS,
    identity=SELLBACK_COLUMNS,
    parse=parse_sellback,
    refused_formats={
        "txt": "a .txt file holds ids alone, and a sellback has a time; allowed are .csv, .jsonl, .ndjson, .parquet"
    },
)
