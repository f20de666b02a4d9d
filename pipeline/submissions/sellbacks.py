"""Reads the optional folder `sellbacks`, the inbox's neighbour, into the raw table `sellback_submissions`.

What was sold back only the partner knows, whose backend makes these calls. Files are taken as those of the inbox are:
never changed, each read once and known by its content, a bad row rejected with its reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.lake.database import connect
from pipeline.lake.directory import DataDirectory
from pipeline.schema.raw import SELLBACK_SUBMISSIONS
from pipeline.submissions import formats, inbox, rows
from pipeline.submissions.formats import RowError, UnreadableFileError
from pipeline.submissions.intake import FileReport, IntakeReport

COLUMNS = ("item_id", "session_id", "sold_at", "amount_usd")
_BATCH = 50_000
_EXCERPT = 200
_IDS_ALONE = "a .txt file holds ids alone, and a sellback has a time; allowed are .csv, .jsonl, .ndjson, .parquet"


def new_sellback_files(data: DataDirectory) -> list[inbox.InboxFile]:
    """The files of the folder that no run has read yet; none where there is no folder."""
    return inbox.new_files(data.with_sellbacks_for_inbox()) if data.sellbacks.is_dir() else []


def take_in_sellbacks(data: DataDirectory, clock: Callable[[], datetime]) -> IntakeReport:
    """Reads every new file of the folder once. Needs the directory's lock."""
    report = IntakeReport()
    files = new_sellback_files(data)
    if not files:
        return report
    folder = data.with_sellbacks_for_inbox()
    index = inbox.InboxIndex(folder)
    taken = {Path(p).stem for paths in data.store.parts(SELLBACK_SUBMISSIONS).values() for p in paths}
    for file in files:
        path = folder.inbox / file.name
        try:
            sha = _sha256(path)
        except OSError as error:
            report.files.append(FileReport(file.shown, refused_because=f"it cannot be opened: {error.strerror}"))
            continue
        refused_name = f"{sha}-unreadable-as-{formats.format_of(path)}"
        if sha in taken or refused_name in taken:
            report.already_known.append(file.shown)
        else:
            refused = _take_in_file(data, path, file.shown, sha, clock(), report)
            taken.add(refused_name if refused else sha)
            report.files.append(FileReport(file.shown, refused) if refused else _counted(data, file.shown, sha))
        index.remember(file, sha)
    index.save()
    return report


def _take_in_file(
    data: DataDirectory, path: Path, name: str, sha: str, now: datetime, report: IntakeReport
) -> str | None:
    """Writes the file's rows as one raw object. Returns why the file was refused as a whole, if it was."""
    unknown: set[str] = set()
    part = f"{now:%Y-%m-%d}"
    common = {"content_sha256": sha, "source_file": name, "submitted_at": now}
    try:
        if formats.format_of(path) == "txt":
            raise UnreadableFileError(_IDS_ALONE)
        with (
            data.store.writer(SELLBACK_SUBMISSIONS, part, sha) as writer,
            closing(formats.read(path, unknown.update, COLUMNS)) as records,
        ):
            for batch in _batches({**common, **_row(record)} for record in records):
                writer.write(batch)
    except UnreadableFileError as error:
        refused_name = f"{sha}-unreadable-as-{formats.format_of(path)}"
        with data.store.writer(SELLBACK_SUBMISSIONS, part, refused_name) as writer:
            writer.write(next(_batches(iter([{**common, **_refused(0, error, None)}]))))
        return str(error)
    if unknown:
        report.unknown_columns[name] = sorted(unknown)
    return None


def _row(record: formats.Record) -> dict[str, Any]:
    number, content = record
    if isinstance(content, RowError):
        return _refused(number, content, content.raw_value)
    try:
        sellback = rows.parse_sellback(content)
    except RowError as error:
        return _refused(number, error, error.raw_value)
    return {"row_number": number, **{column: getattr(sellback, column) for column in COLUMNS}}


def _refused(number: int, reason: Exception, raw_value: str | None) -> dict[str, Any]:
    excerpt = None if raw_value is None else formats.printable(raw_value[:_EXCERPT])
    return {"row_number": number, "rejected_reason": formats.printable(str(reason)), "raw_value": excerpt}


def _batches(records: Iterator[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    buffer: list[dict[str, Any]] = []
    for record in records:
        buffer.append(record)
        if len(buffer) == _BATCH:
            yield pa.RecordBatch.from_pylist(buffer, SELLBACK_SUBMISSIONS.arrow_schema)
            buffer = []
    if buffer:
        yield pa.RecordBatch.from_pylist(buffer, SELLBACK_SUBMISSIONS.arrow_schema)


def _counted(data: DataDirectory, name: str, sha: str) -> FileReport:
    """Counts, from raw itself, what a new content brought. A record that says what another did is a duplicate."""
    with connect(data) as connection:
        found = connection.execute(
            f"""
            WITH records AS (FROM {data.store.scan(SELLBACK_SUBMISSIONS)}),
            own AS (SELECT * FROM records WHERE content_sha256 = $sha AND row_number > 0),
            earlier AS (
                SELECT DISTINCT item_id, session_id, sold_at, amount_usd FROM records
                WHERE content_sha256 <> $sha AND rejected_reason IS NULL
                    AND item_id IN (SELECT item_id FROM own)
            ),
            ranked AS (
                SELECT own.rejected_reason IS NOT NULL AS is_rejected,
                    earlier.item_id IS NOT NULL OR row_number() OVER (
                    PARTITION BY own.item_id, own.session_id, own.sold_at, own.amount_usd, own.rejected_reason
                    ORDER BY own.row_number
                ) > 1 AS is_repeated
                FROM own LEFT JOIN earlier ON earlier.item_id = own.item_id AND earlier.sold_at = own.sold_at
                    AND earlier.session_id IS NOT DISTINCT FROM own.session_id
                    AND earlier.amount_usd IS NOT DISTINCT FROM own.amount_usd
            )
            SELECT count(*), count(*) FILTER (NOT is_rejected AND NOT is_repeated),
                count(*) FILTER (NOT is_rejected AND is_repeated), count(*) FILTER (is_rejected)
            FROM ranked
            """,
            {"sha": sha},
        ).fetchone()
    return FileReport(name, None, *(found or (0, 0, 0, 0)))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
