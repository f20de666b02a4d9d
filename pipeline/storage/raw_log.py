"""The raw log of answers: synced to disk within a second of arrival, sealed into Parquet later.

While a run polls, answers are appended to a journal (`journal.py`), so that a torn end costs no complete batch before
it. When polling ends, the journal is sealed into one Parquet object per day of observation and removed. The next run
seals the journal of a killed run. If a journal is damaged, its intact batches are sealed, and the file is kept under
another name.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.schema.table import Table
from pipeline.storage import journal
from pipeline.storage.arrow_columns import column
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.errors import StoreError
from pipeline.storage.files import sync
from pipeline.storage.object_writer import ObjectWriter

FLUSH_BYTES = 4 * 1024 * 1024
_REST = "-rest"  # suffix of the name of an object with the rows that another machine did not have
_PIECE_BYTES = 2 * 1024 * 1024  # bytes of a journal that are sealed at a time


class Response(NamedTuple):
    """One request and its answer. Times are microseconds since the epoch; `body` is None if no answer came."""

    session_id: str
    requested_at: int
    received_at: int
    http_status: int | None
    content_type: str | None
    body: bytes | None
    outcome: str
    detail: str | None
    has_repeated_keys: bool = False


class ResponseLog:
    """The journal of one run. Not thread-safe: appends and flushes come from one thread at a time.

    Raises StoreError if the journal cannot be created.
    """

    def __init__(self, data: DataDirectory, table: Table, now: datetime) -> None:
        folder = data.journal(table)
        self._path = folder / f"{now:%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}{journal.SUFFIX}"
        self._failed = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with contextlib.ExitStack() as opened:
                self._file = opened.enter_context(self._path.open("xb"))
                sync(folder)
                opened.pop_all()  # the file stays open, unless the sync has failed
        except OSError as error:
            raise self._error(error) from error
        self._data = data
        self._table = table
        self._segments = data.journal_segments(table)
        self._segment_count = 0
        self._buffer: list[Response] = []
        self._buffered_bytes = 0
        self._has_room = asyncio.Event()
        self._has_room.set()

    def append(self, response: Response) -> None:
        self._buffer.append(response)
        self._buffered_bytes += len(response.body or b"")
        if self.is_full:
            self._has_room.clear()

    @property
    def is_full(self) -> bool:
        """Whether the buffer should be flushed before more requests are sent. This bounds memory."""
        return self._buffered_bytes >= FLUSH_BYTES

    async def room(self) -> None:
        """Waits while the buffer is full. Call it before a large append."""
        await self._has_room.wait()

    def take(self) -> list[Response]:
        """Empties the buffer and returns it for `write`, which may run in another thread."""
        taken, self._buffer, self._buffered_bytes = self._buffer, [], 0
        self._has_room.set()
        return taken

    def write(self, responses: list[Response]) -> None:
        """Appends to the journal and syncs: when this returns, the responses survive a power cut.

        With the lake in an object store they survive the loss of this machine as well.
        Raises StoreError if writing fails; after a failure of the disk the log writes nothing.
        """
        if not responses or self._failed:
            return
        written: list[journal.Frame] = []
        try:
            for part in _parts(responses):
                frame = journal.frame(_batch(self._table, part))
                self._file.writelines(frame)
                written.append(frame)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            # A batch written after a torn one would turn the torn end into damage.
            self._failed = True
            raise self._error(error) from error
        for frame in written:
            self._segment_count += 1
            self._segments.add(self._path.name, self._segment_count, frame)

    def close(self) -> None:
        """Writes the rest of the buffer and seals the journal into the raw table.

        Raises StoreError if a disk operation fails; the journal is then kept, and the next run seals it. Also raises
        StoreError if the journal is damaged.
        """
        try:
            self.write(self.take())
        finally:
            with contextlib.suppress(OSError):
                self._file.close()
        if not self._failed and (damage := _seal(self._data, self._table, self._path)):
            raise StoreError(damage)

    def _error(self, error: OSError) -> StoreError:
        return StoreError(
            f"answers could not be written to {self._path}: {error}; their sessions stay pending: "
            "free some space or correct the permissions, then run again"
        )


def recover(data: DataDirectory, table: Table) -> list[str]:
    """Seals the journals of killed runs. Returns a line on each torn or damaged one. Needs the directory's lock.

    Raises StoreError if a disk operation fails; the journal is then kept.
    """
    restored = data.journal_segments(table).restore()
    lines = []
    for path in journal.left_over(data.journal(table)):
        # Another machine may have sealed what this one had sent to the object store.
        may_be_known = data.storage.is_remote and path.name not in restored
        lines.append(_seal(data, table, path, may_be_known))
    return [line for line in lines if line]


def _parts(responses: list[Response]) -> Iterator[list[Response]]:
    """The responses in groups of about FLUSH_BYTES, because making a frame keeps several copies of it in memory."""
    part, size = list[Response](), 0
    for response in responses:
        part.append(response)
        size += len(response.body or b"")
        if size >= FLUSH_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _batch(table: Table, responses: list[Response]) -> pa.RecordBatch:
    values: dict[str, Sequence[Any]] = dict(zip(Response._fields, zip(*responses, strict=True), strict=True))
    values["body_sha256"] = [None if body is None else hashlib.sha256(body).hexdigest() for body in values["body"]]
    schema = table.arrow_schema
    return pa.record_batch([column(values[field.name], field.type) for field in schema], schema=schema)


def _seal(data: DataDirectory, table: Table, path: Path, may_be_known: bool = False) -> str | None:
    """Turns a journal into one Parquet object per day. Sealing twice gives the same objects. Raises StoreError.

    With `may_be_known`, only the rows that raw does not have yet are sealed, under another name.
    Returns a line for people if the journal was torn or damaged.
    """
    account = journal.Account()
    name = f"{path.stem}{_REST}" if may_be_known else path.stem
    with contextlib.ExitStack() as objects:
        writers: dict[str, ObjectWriter] = {}
        for rows in _gathered(journal.read(path, table, account)):
            for day, every in _by_day(rows):
                of_day = _unknown(data, table, day, every) if may_be_known else every
                if not of_day.num_rows:
                    continue
                if day not in writers:
                    writer = data.store.writer(table, day, name)
                    writers[day] = objects.enter_context(writer)
                for batch in of_day.to_batches():
                    writers[day].write(batch)
    segments = data.journal_segments(table)
    try:
        if account.damaged_bytes:
            aside = journal.set_aside(path)
            data.push(aside)
            segments.remove(path.name)
            return (
                f"{path} is damaged: {account.damaged_bytes:,} of its bytes do not match their checksum; "
                f"its other answers were saved, and the file was renamed to {aside.name}"
            )
        path.unlink()
        segments.remove(path.name)
    except OSError as error:
        raise StoreError(
            f"{path} could not be removed: {error}; its answers are in raw: correct the permissions, then run again"
        ) from error
    if account.torn_bytes:
        return f"{path} was torn at its end by a kill or a power cut: {account.torn_bytes:,} bytes were incomplete"
    return None


def _unknown(data: DataDirectory, table: Table, day: str, rows: pa.Table) -> pa.Table:
    """The rows of one day that its raw objects do not have."""
    known = {
        request
        for path in data.store.part(table, day)
        for batch in data.store.read(path)
        for request in _requests(batch)
    }
    return rows.filter(pa.array([request not in known for request in _requests(rows)], pa.bool_()))


def _requests(rows: pa.RecordBatch | pa.Table) -> Iterator[tuple[object, ...]]:
    """What tells one request from every other."""
    return zip(*(rows[name].to_pylist() for name in ("session_id", "requested_at", "received_at")), strict=True)


def _gathered(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The same rows in fewer, larger batches."""
    waiting: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        waiting.append(batch)
        size += batch.nbytes
        if size >= _PIECE_BYTES:
            yield pa.Table.from_batches(waiting).combine_chunks()
            waiting, size = [], 0
    if waiting:
        yield pa.Table.from_batches(waiting).combine_chunks()


def _by_day(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    days = rows["received_at"].cast(pa.date32())
    found = sorted(pc.unique(days).to_pylist())
    for day in found:
        yield f"{day:%Y-%m-%d}", rows if len(found) == 1 else rows.filter(pc.equal(days, day))
