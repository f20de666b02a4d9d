"""Reads what is new in a source into the raw table of its kind of record, one object per batch content."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from pipeline.sources import rows
from pipeline.sources.columns import SOURCE_CURSOR, Record, RowError, UnreadableFileError
from pipeline.sources.kinds import Kind
from pipeline.sources.listing import UnavailableFileError, cannot_be_read, printable
from pipeline.sources.source import AnyBatch, Batch, Source
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory

_BATCH = 50_000
_EXCERPT = 200
COUNTS = ("rows_read", "accepted", "duplicates", "rejected")
_NOTHING_NEW = "its content was read before and adds nothing"


@dataclass(frozen=True)
class FileReport:
    """The row counts of a file, or of a run's read of a database; rows_read = accepted + duplicates + rejected."""

    source_file: str
    refused_because: str | None = None
    rows_read: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0

    def plus(self, other: FileReport) -> FileReport:
        """The counts of both, of two batches of a source."""
        added = {count: getattr(self, count) + getattr(other, count) for count in COUNTS}
        return replace(self, **added)

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
    """The report of one intake, by file.

    `left` has the reason for each file that was not read; the next run tries it again. `recovered` has messages about
    damaged journals. `remedy` is the advice for files whose content is known.
    """

    files: list[FileReport] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    already_known: list[str] = field(default_factory=list)
    unknown_columns: dict[str, list[str]] = field(default_factory=dict)
    recovered: list[str] = field(default_factory=list)
    remedy: str | None = None

    @property
    def lines(self) -> list[str]:
        """One line per file, for people."""
        nothing_new = f"{_NOTHING_NEW}; {self.remedy}" if self.remedy else _NOTHING_NEW
        return [
            *self.recovered,
            *(file.line for file in self.files),
            *(f"{name}: ignored columns: {', '.join(c)}" for name, c in self.unknown_columns.items()),
            *(f"{name}: {nothing_new}" for name in self.already_known),
            *(f"{name}: not read, {reason}" for name, reason in self.left.items()),
        ]

    def add(self, other: IntakeReport) -> None:
        """Adds the report of another source."""
        self.files += other.files
        self.left |= other.left
        self.already_known += other.already_known
        self.unknown_columns |= other.unknown_columns

    def total(self, count: str) -> int:
        return sum(getattr(f, count) for f in self.files)


def take_in(data: DataDirectory, clock: Callable[[], datetime], source: Source[AnyBatch]) -> IntakeReport:
    """Reads every new batch of the source once. Needs the directory's lock.

    A batch that cannot be read now, for example because of a file's permissions, is left to the next run and does not
    affect others.
    """
    kind = source.kind
    report = IntakeReport(remedy=kind.remedy)
    known = {PurePosixPath(path).stem for paths in data.store.parts(kind.table).values() for path in paths}
    new: list[tuple[str, str, str | None]] = []
    for batch in source.batches(report.left):
        names = {batch.rows_object, batch.rejection_object}
        try:
            if known.isdisjoint(names | batch.former_objects):
                rejected = _read(data, kind, batch, clock(), report)
                known |= names
                new.append((batch.content_sha256, batch.name, rejected))
            else:
                report.already_known.append(batch.name)
        except UnavailableFileError as error:
            report.left[batch.name] = str(error)
            continue
        source.mark_read(batch)
    report.files += _count(data, kind, new)
    source.save()
    return report


def _read(data: DataDirectory, kind: Kind, batch: Batch, now: datetime, report: IntakeReport) -> str | None:
    """Writes the batch's rows as one raw object. Returns the reason if the whole batch is rejected.

    Raises UnavailableFileError; then nothing was written.
    """
    unknown: set[str] = set()
    part, sha, name = f"{now:%Y-%m-%d}", batch.content_sha256, batch.name
    try:
        with (
            data.store.writer(kind.table, part, batch.rows_object) as writer,
            closing(batch.records(unknown.update)) as records,
        ):
            for rows_read in _batches(kind, (_row(kind, record, sha, name, now) for record in records)):
                writer.write(rows_read)
            batch.confirm()
    except UnreadableFileError as error:
        batch.confirm()
        with data.store.writer(kind.table, part, batch.rejection_object) as writer:
            writer.write(next(_batches(kind, [_refused_row(sha, 0, name, now, error, None)])))
        return str(error)
    except MemoryError as error:
        raise UnavailableFileError(cannot_be_read(error)) from error
    if unknown:
        report.unknown_columns[name] = sorted(unknown)
    return None


def _row(kind: Kind, record: Record, sha: str, name: str, now: datetime) -> dict[str, Any]:
    number, content = record
    if isinstance(content, RowError):
        return _refused_row(sha, number, name, now, content, content.raw_value)
    try:
        parsed = kind.parse(content)
    except RowError as error:
        refused = _refused_row(sha, number, name, now, error, error.raw_value)
        found = {"session_id": rows.readable_session_id(content), SOURCE_CURSOR: content.get(SOURCE_CURSOR)}
        return refused | found
    return {
        "content_sha256": sha,
        "row_number": number,
        "source_file": name,
        "submitted_at": now,
        SOURCE_CURSOR: content.get(SOURCE_CURSOR),
        **{column: getattr(parsed, column) for column in kind.columns},
    }


def _refused_row(
    sha: str, number: int, name: str, now: datetime, reason: Exception, raw_value: str | None
) -> dict[str, Any]:
    excerpt = None if raw_value is None else printable(raw_value[:_EXCERPT])
    return {
        "content_sha256": sha,
        "row_number": number,
        "source_file": name,
        "submitted_at": now,
        "rejected_reason": printable(str(reason)),
        "raw_value": excerpt,
    }


def _batches(kind: Kind, records: Iterable[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    buffer: list[dict[str, Any]] = []
    for record in records:
        buffer.append(record)
        if len(buffer) == _BATCH:
            yield pa.RecordBatch.from_pylist(buffer, kind.table.arrow_schema)
            buffer = []
    if buffer:
        yield pa.RecordBatch.from_pylist(buffer, kind.table.arrow_schema)


def _count(data: DataDirectory, kind: Kind, new: list[tuple[str, str, str | None]]) -> list[FileReport]:
    """The reports of the new files, counted in the raw table."""
    if not new:
        return []
    with connect(data) as connection:
        found = connection.execute(
            f"""
            WITH submissions AS (FROM {data.store.scan(kind.table)}),
            touched AS (
                SELECT * FROM submissions WHERE row_number > 0 AND (
                    content_sha256 IN (SELECT unnest($new)) OR {kind.identity[0]} IN (
                        SELECT {kind.identity[0]} FROM submissions WHERE content_sha256 IN (SELECT unnest($new))))
            ),
            ranked AS (
                SELECT *, rejected_reason IS NOT NULL AS is_rejected, row_number() OVER (
                    PARTITION BY {", ".join(kind.identity)}, rejected_reason IS NOT NULL
                    ORDER BY submitted_at, source_file, content_sha256, row_number
                ) AS occurrence
                FROM touched
            )
            SELECT content_sha256, source_file, count(*), count(*) FILTER (NOT is_rejected AND occurrence = 1),
                count(*) FILTER (NOT is_rejected AND occurrence > 1), count(*) FILTER (is_rejected)
            FROM ranked WHERE content_sha256 IN (SELECT unnest($new)) GROUP BY ALL
            """,
            {"new": [sha for sha, _, _ in new]},
        ).fetchall()
    counts = {(sha, name): numbers for sha, name, *numbers in found}
    reports: dict[str, FileReport] = {}
    for sha, name, refused in new:
        report = FileReport(name, refused, *counts.get((sha, name), (0, 0, 0, 0)) if not refused else ())
        reports[name] = reports[name].plus(report) if name in reports else report
    return list(reports.values())
