"""What raw has already of rows that are read again: the rows themselves, and their sessions with the same details."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from pipeline.schema.raw import SESSION_SUBMISSIONS
from pipeline.sources.columns import COLUMNS, SOURCE_CURSOR, RowError
from pipeline.sources.rows import parse_submission, readable_session_id
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory

Row = tuple[Any, ...]  # the values of a query's columns, then the row's cursor as text
_DETAILS = COLUMNS[1:]


class EarlierRows:
    """Rows of earlier reads by session and cursor, and all accepted submissions of raw.

    It keeps them in DuckDB, which can spill: a table that was filled at once may have one cursor in all of its rows.
    """

    def __init__(self, data: DataDirectory, connection: duckdb.DuckDBPyConnection, objects: Iterable[str]) -> None:
        self._data = data
        self._connection = connection
        self._submissions: str | None = None
        self._are_none = not data.store.parts(SESSION_SUBMISSIONS)
        connection.execute("CREATE TEMP TABLE earlier (session_id VARCHAR, source_cursor VARCHAR)")
        for path in objects:
            for read in data.store.read(path):
                connection.register("read", pa.table({name: read[name] for name in ("session_id", SOURCE_CURSOR)}))
                connection.execute("INSERT INTO earlier FROM read")

    def new_of(self, rows: list[Row], columns: Sequence[str]) -> list[Row]:
        """The rows that were not read before and that add something to what raw has of their session."""
        if self._are_none:
            return rows
        records = [dict(zip(columns, row, strict=False)) for row in rows]
        ids = [readable_session_id(record) for record in records]
        unread = {i: ids[i] for i in self._not_read([row[-1] for row in rows], ids)}
        known = self._details({session_id for session_id in unread.values() if session_id is not None})
        return [rows[i] for i, session_id in unread.items() if not _adds_nothing(records[i], known.get(session_id, []))]

    def _not_read(self, cursors: list[str], ids: list[str | None]) -> list[int]:
        """The places of the rows that were not read before. A row without a readable session has its cursor alone."""
        places = pa.array(range(len(ids)), pa.int64())
        strings = {"session_id": pa.array(ids, pa.string()), SOURCE_CURSOR: pa.array(cursors, pa.string())}
        self._connection.register("rows_now", pa.table({"place": places, **strings}))
        found = self._connection.execute(
            "SELECT place FROM rows_now AS now WHERE NOT EXISTS (FROM earlier WHERE "
            "earlier.source_cursor = now.source_cursor AND earlier.session_id IS NOT DISTINCT FROM now.session_id) "
            "ORDER BY place"
        )
        return [place for (place,) in found.fetchall()]

    def _details(self, ids: set[str]) -> Mapping[str | None, list[tuple[Any, ...]]]:
        """By session: the details of its accepted submissions."""
        if not ids:
            return {}
        if self._submissions is None:
            self._submissions = self._data.store.scan(SESSION_SUBMISSIONS)
        self._connection.register("asked", pa.table({"session_id": sorted(ids)}))
        rows = self._connection.execute(
            f"SELECT session_id, {', '.join(_DETAILS)} FROM {self._submissions} "
            "WHERE rejected_reason IS NULL AND session_id IN (SELECT session_id FROM asked)"
        )
        found: dict[str | None, list[tuple[Any, ...]]] = defaultdict(list)
        for session_id, *details in rows.fetchall():
            found[session_id].append(tuple(details))
        return found


@contextlib.contextmanager
def earlier_rows(data: DataDirectory, objects: Iterable[str]) -> Iterator[EarlierRows]:
    """What raw has, with the rows of these raw objects of earlier reads. Raises StoreError."""
    with connect(data) as connection:
        yield EarlierRows(data, connection, objects)


def _adds_nothing(record: Mapping[str, Any], known: list[tuple[Any, ...]]) -> bool:
    """Whether an accepted submission of the session has all details of the record; a missing one is no difference."""
    if not known:
        return False
    try:
        submission = parse_submission(record)
    except RowError:
        return False
    given = [(i, value) for i, name in enumerate(_DETAILS) if (value := getattr(submission, name)) is not None]
    return any(all(details[i] == value for i, value in given) for details in known)
