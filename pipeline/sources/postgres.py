"""Session ids from a PostgreSQL database, by a query of the user: the source beside the inbox.

The rows come in the order of their cursor, and each batch becomes one raw object, whose name has the watermark: how far
the query has been read. So raw itself says where to read on, and nothing else has to be kept.

A row is committed later than its cursor was made, and others with a higher cursor may be read before. Each read
therefore begins an overlap before the watermark. What it brings again is left out, by session and cursor; so are
sessions that raw knows from elsewhere with the same details. Reading the same rows twice adds nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import PurePosixPath

from pipeline.schema.raw import SESSION_SUBMISSIONS
from pipeline.sources.columns import SOURCE_CURSOR, Record
from pipeline.sources.earlier_rows import Row, earlier_rows
from pipeline.sources.kinds import SESSIONS
from pipeline.sources.listing import printable
from pipeline.sources.postgres_connection import DatabaseError, opened, place_of
from pipeline.sources.postgres_query import CursorKind, SubmissionsQuery
from pipeline.storage.data_directory import DataDirectory

ROWS_IN_BATCH = 50_000
_RECORD = "submissions_query"
_READ_TIMEOUT = 300  # seconds for one statement; a read consists of many
_LOOK_TIMEOUT = 10
_NAME = re.compile(
    r"-as-postgresql-(?P<query>[0-9a-f]{16})-(?P<kind>[a-z])(?P<watermark>-?[0-9]+)-(?P<highest>-?[0-9]+)$"
)


@dataclass(frozen=True)
class _Object:
    """A raw object of an earlier read, with what its name says; see `DatabaseBatch`."""

    path: str
    watermark: int
    highest: int


@dataclass(frozen=True)
class DatabaseBatch:
    """Rows that were read from the database, without those that raw has.

    `watermark` is the value of the cursor up to which everything was read, `highest` the highest of the rows. They
    differ if a clock was ahead: a watermark in the future would hide the rows of the meantime.
    """

    name: str
    rows: list[Row]
    columns: tuple[str, ...]
    unknown: set[str]
    query: str
    kind: CursorKind
    watermark: int
    highest: int
    content_sha256: str

    @property
    def rows_object(self) -> str:
        return f"{self.content_sha256}-as-postgresql-{self.query}-{self.kind.letter}{self.watermark}-{self.highest}"

    @property
    def rejection_object(self) -> str:
        return f"{self.rows_object}-unreadable"

    @property
    def former_objects(self) -> frozenset[str]:
        return frozenset()

    def records(self, note_unknown: Callable[[Iterable[str]], None]) -> Generator[Record, None, None]:
        note_unknown(self.unknown)
        names = (*self.columns, SOURCE_CURSOR)
        for number, row in enumerate(self.rows, 1):
            yield number, dict(zip(names, row, strict=True))

    def confirm(self) -> None:
        """Does nothing: the rows are those of one transaction."""


@dataclass(frozen=True)
class LastRead:
    """The record of the last read, for the sensor and the status. It can be lost; then a run is started once more.

    `rows` is the number of the query's rows whose cursor is at least `start`, which is None if there were none.
    `failure` is the reason for which the read did not come to its end.
    """

    query: str
    kind: str | None = None
    start: int | None = None
    rows: int = 0
    failure: str | None = None


class DatabaseSource:
    """The rows of the query as a `Source`."""

    kind = SESSIONS

    def __init__(self, data: DataDirectory, url: str, query: str) -> None:
        self._data, self._url, self._text = data, url, query
        self._read = self._recorded = data.records.load(_RECORD, LastRead)
        self._watermark: int | None = None
        self._written: DatabaseBatch | None = None

    def batches(self, left: dict[str, str]) -> Iterator[DatabaseBatch]:
        name, query = "postgresql", ""
        try:
            place = place_of(self._url)
            name, query = name_of(place), self._digest(place)
            with opened(self._url, _READ_TIMEOUT) as connection:
                found = SubmissionsQuery(connection, self._text)
                found.check_cursors()
                for batch in self._batches(found, name, query):
                    yield batch
                    if self._written is not batch:  # for a reason that intake noted; no later batch may hide it
                        raise DatabaseError(left.get(name, "a batch of its rows was not written"))
                start = self._start(found.kind)
                self._read = LastRead(query, found.kind.letter, start, found.count_since(start))
        except DatabaseError as error:
            left[name] = str(error)
            known = self._read if self._read and self._read.query == query else LastRead(query)
            self._read = replace(known, failure=f"{name}: {error}")

    def mark_read(self, batch: DatabaseBatch) -> None:
        self._watermark, self._written = batch.watermark, batch

    def save(self) -> None:
        if self._read and self._read != self._recorded:
            self._data.records.save(_RECORD, asdict(self._read))

    def unread(self) -> str | None:
        """A text that stands for the rows that no run has read yet, for a sensor; None if there are none.

        It costs one count of the rows in the overlap. Raises DatabaseError with the name of the database.
        """
        name, last = "postgresql", self._recorded
        try:
            place = place_of(self._url)
            name, query = name_of(place), self._digest(place)
            with opened(self._url, _LOOK_TIMEOUT) as connection:
                found = SubmissionsQuery(connection, self._text)
                if last is None or (last.query, last.kind) != (query, found.kind.letter):
                    return query if found.has_rows() else None
                rows = found.count_since(last.start)
        except DatabaseError as error:
            raise DatabaseError(f"{name}: {error}") from None
        return None if rows == last.rows and not last.failure else f"{query}-{last.start}-{rows}"

    def _digest(self, place: dict[str, str]) -> str:
        """Which query of which database it is: another one is read from its beginning."""
        return hashlib.sha256(repr((sorted(place.items()), self._text)).encode()).hexdigest()[:16]

    def _start(self, kind: CursorKind) -> int | None:
        return None if self._watermark is None else self._watermark - kind.overlap

    def _batches(self, found: SubmissionsQuery, name: str, query: str) -> Iterator[DatabaseBatch]:
        objects = _objects_of(self._data, query, found.kind)
        self._watermark = max((one.watermark for one in objects), default=None)
        start, now = self._start(found.kind), found.now()
        overlapping = [one.path for one in objects if start is not None and one.highest >= start]
        with earlier_rows(self._data, overlapping) as earlier:
            for rows in found.rows_since(start, ROWS_IN_BATCH):
                highest = found.kind.value(rows[-1][-1])
                reached = highest if now is None else min(highest, now)
                watermark = reached if self._watermark is None else max(reached, self._watermark)
                new = earlier.new_of(rows, found.columns)
                # A whole batch of known sessions is noted as read, so that they are not read again and again.
                if new or (len(rows) == ROWS_IN_BATCH and watermark != self._watermark):
                    sha = hashlib.sha256(repr(new).encode("utf-8", "surrogatepass")).hexdigest()
                    described = (found.columns, found.unknown, query, found.kind)
                    yield DatabaseBatch(name, new, *described, watermark, highest, sha)


def name_of(place: dict[str, str]) -> str:
    """The name of the source for people and tables, without user, host and password."""
    return f"postgresql: {printable(place['dbname'])}" if "dbname" in place else "postgresql"


def last_failure(data: DataDirectory) -> str | None:
    """The name of the database, and the reason for which the last run could not read it; None if it could."""
    last = data.records.load(_RECORD, LastRead)
    return last.failure if last else None


def _objects_of(data: DataDirectory, query: str, kind: CursorKind) -> list[_Object]:
    """The raw objects that earlier reads of the query wrote."""
    found = []
    for path in (path for of_day in data.store.parts(SESSION_SUBMISSIONS).values() for path in of_day):
        name = _NAME.search(PurePosixPath(path).stem)
        if name and (name["query"], name["kind"]) == (query, kind.letter):
            found.append(_Object(path, int(name["watermark"]), int(name["highest"])))
    return found
