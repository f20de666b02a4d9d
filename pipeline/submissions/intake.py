"""Reads the inbox's new files into the raw table `session_submissions`, one object per file content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.lake.database import connect
from pipeline.lake.directory import DataDirectory
from pipeline.schema.raw import SESSION_SUBMISSIONS
from pipeline.submissions import formats, inbox, rows
from pipeline.submissions.formats import RowError, UnreadableFileError

_BATCH = 50_000
_EXCERPT = 200
_NOTHING_NEW = (
    "nothing in it is new, its content was taken in before; "
    "to have expired sessions asked again, submit their ids: `phygitals submit ID...`"
)


@dataclass(frozen=True)
class FileReport:
    """What one inbox file brought. rows_read = accepted + duplicates + rejected."""

    source_file: str
    refused_because: str | None = None
    rows_read: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0

    @property
    def line(self) -> str:
        """The report in words."""
        if self.refused_because:
            return f"{self.source_file}: rejected whole, {self.refused_because}"
        return (
            f"{self.source_file}: {self.rows_read} rows read = {self.accepted} accepted "
            f"+ {self.duplicates} duplicates + {self.rejected} rejected"
        )


@dataclass
class IntakeReport:
    """What one intake brought, file by file; `recovered` says what became of a journal that was found damaged."""

    files: list[FileReport] = field(default_factory=list)
    already_known: list[str] = field(default_factory=list)
    unknown_columns: dict[str, list[str]] = field(default_factory=dict)
    recovered: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """What a person should know of each file, one line each."""
        return [
            *self.recovered,
            *(file.line for file in self.files),
            *(f"{name}: columns that are ignored: {', '.join(c)}" for name, c in self.unknown_columns.items()),
            *(f"{name}: {_NOTHING_NEW}" for name in self.already_known),
        ]

    def total(self, count: str) -> int:
        return sum(getattr(f, count) for f in self.files)


def take_in(data: DataDirectory, clock: Callable[[], datetime]) -> IntakeReport:
    """Reads every new file of the inbox once. Needs the directory's lock.

    A file is known by its content: the same bytes under another name add nothing. A file that could
    not be read as one format is read again when it turns up under another.
    """
    report = IntakeReport()
    index = inbox.InboxIndex(data)
    taken = {Path(p).stem for paths in data.store.parts(SESSION_SUBMISSIONS).values() for p in paths}
    new: list[tuple[str, str, str | None]] = []
    for file in inbox.listing(data):
        if index.knows(file):
            continue
        path = data.inbox / file.name
        try:
            sha = _sha256(path)
        except OSError as error:
            # Not remembered: what could not be opened has no content to be known by, and is tried again.
            report.files.append(FileReport(file.shown, refused_because=f"it cannot be opened: {error.strerror}"))
            continue
        refused_name = f"{sha}-unreadable-as-{formats.format_of(path)}"
        if sha in taken or refused_name in taken:
            report.already_known.append(file.shown)
        else:
            refused = _take_in_file(data, path, file.shown, sha, clock(), report)
            name = refused_name if refused else sha
            taken.add(name)
            new.append((sha, file.shown, refused))
        index.remember(file, sha)
    report.files += _count(data, new)
    index.save()
    return report


def _take_in_file(
    data: DataDirectory, path: Path, name: str, sha: str, now: datetime, report: IntakeReport
) -> str | None:
    """Writes the file's rows as one raw object. Returns why the file was refused as a whole, if it was."""
    unknown: set[str] = set()
    part = f"{now:%Y-%m-%d}"

    def on_unknown(columns: Iterable[str]) -> None:
        unknown.update(columns)

    try:
        with (
            data.store.writer(SESSION_SUBMISSIONS, part, sha) as writer,
            closing(formats.read(path, on_unknown)) as records,
        ):
            for batch in _batches(_row(record, sha, name, now) for record in records):
                writer.write(batch)
    except UnreadableFileError as error:
        refused_name = f"{sha}-unreadable-as-{formats.format_of(path)}"
        with data.store.writer(SESSION_SUBMISSIONS, part, refused_name) as writer:
            writer.write(next(_batches([_refused_row(sha, 0, name, now, error, None)])))
        return str(error)
    if unknown:
        report.unknown_columns[name] = sorted(unknown)
    return None


def _row(record: formats.Record, sha: str, name: str, now: datetime) -> dict[str, Any]:
    number, content = record
    if isinstance(content, RowError):
        return _refused_row(sha, number, name, now, content, content.raw_value)
    try:
        submission = rows.parse(content)
    except RowError as error:
        refused = _refused_row(sha, number, name, now, error, error.raw_value)
        return {**refused, "session_id": rows.readable_session_id(content)}
    return {
        "content_sha256": sha,
        "row_number": number,
        "source_file": name,
        "submitted_at": now,
        **{column: getattr(submission, column) for column in formats.COLUMNS},
    }


def _refused_row(
    sha: str, number: int, name: str, now: datetime, reason: Exception, raw_value: str | None
) -> dict[str, Any]:
    excerpt = None if raw_value is None else raw_value[:_EXCERPT].encode("utf-8", "replace").decode()
    return {
        "content_sha256": sha,
        "row_number": number,
        "source_file": name,
        "submitted_at": now,
        "rejected_reason": str(reason).encode("utf-8", "replace").decode(),
        "raw_value": excerpt,
    }


def _batches(records: Iterable[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    buffer: list[dict[str, Any]] = []
    for record in records:
        buffer.append(record)
        if len(buffer) == _BATCH:
            yield pa.RecordBatch.from_pylist(buffer, SESSION_SUBMISSIONS.arrow_schema)
            buffer = []
    if buffer:
        yield pa.RecordBatch.from_pylist(buffer, SESSION_SUBMISSIONS.arrow_schema)


def _count(data: DataDirectory, new: list[tuple[str, str, str | None]]) -> list[FileReport]:
    """Counts, from the raw table itself, what each new content brought."""
    if not new:
        return []
    with connect(data) as connection:
        found = connection.execute(
            f"""
            WITH submissions AS (FROM {data.store.scan(SESSION_SUBMISSIONS)}),
            touched AS (
                SELECT * FROM submissions WHERE row_number > 0 AND (
                    content_sha256 IN (SELECT unnest($new)) OR session_id IN (
                        SELECT session_id FROM submissions WHERE content_sha256 IN (SELECT unnest($new))))
            ),
            ranked AS (
                SELECT *, rejected_reason IS NOT NULL AS is_rejected, row_number() OVER (
                    PARTITION BY session_id, rejected_reason IS NOT NULL
                    ORDER BY submitted_at, source_file, content_sha256, row_number
                ) AS occurrence
                FROM touched
            )
            SELECT content_sha256, count(*), count(*) FILTER (NOT is_rejected AND occurrence = 1),
                count(*) FILTER (NOT is_rejected AND occurrence > 1), count(*) FILTER (is_rejected)
            FROM ranked WHERE content_sha256 IN (SELECT unnest($new)) GROUP BY ALL
            """,
            {"new": [sha for sha, _, _ in new]},
        ).fetchall()
    counts = {sha: numbers for sha, *numbers in found}
    return [
        FileReport(name, refused) if refused else FileReport(name, None, *counts.get(sha, (0, 0, 0, 0)))
        for sha, name, refused in new
    ]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
