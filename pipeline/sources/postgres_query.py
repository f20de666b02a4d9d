"""The query that yields session ids, described, and the meaning of its column `cursor`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pipeline.sources.columns import COLUMNS, find_columns
from pipeline.sources.listing import printable
from pipeline.sources.postgres_connection import DatabaseError

if TYPE_CHECKING:
    import psycopg

CURSOR = "cursor"
_SHOWN = 200  # characters of the query's columns
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Times that Python's type does not have, such as infinity, count as these.
_EARLIEST = (datetime(2, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LATEST = (datetime(9999, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LEAST = -(2**63)
_HOUR = 3_600_000_000  # microseconds
_ALLOWED = "use timestamptz, timestamp (taken as UTC) or an integer type"


@dataclass(frozen=True)
class CursorKind:
    """What a cursor is made of. Its value is a whole number: microseconds since 1970 in UTC, or the number itself.

    A row may become visible after rows whose cursor is up to `overlap` higher.
    """

    letter: str
    type: str
    overlap: int

    def value(self, text: str) -> int:
        """The value of a cursor that PostgreSQL wrote as text."""
        if self is NUMBER:
            return int(text)
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return _EARLIEST if text.startswith("-") or text.endswith("BC") else _LATEST
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return min(max((moment - _EPOCH) // _MICROSECOND, _EARLIEST), _LATEST)

    def literal(self, value: int) -> str:
        """The value in SQL, of the column's own type, so that its index is used."""
        if self is NUMBER:
            return f"'{max(value, _LEAST)}'::bigint"
        return f"'{_EPOCH + max(value, _EARLIEST) * _MICROSECOND}'::{self.type}"


# Numbers say nothing of time. At 25 new sessions per second, the default ceiling, an hour brings 90,000.
NUMBER = CursorKind("n", "bigint", 100_000)
TIME = CursorKind("t", "timestamptz", _HOUR)
LOCAL_TIME = CursorKind("t", "timestamp", _HOUR)
_KINDS = {1184: TIME, 1114: LOCAL_TIME, 20: NUMBER, 21: NUMBER, 23: NUMBER}  # by the type's number in PostgreSQL


class SubmissionsQuery:
    """The query on an open connection. `columns` are the columns of submissions that it has, `unknown` the others."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]], text: str) -> None:
        """Raises DatabaseError if the query lacks a column, repeats one or has a cursor of another type."""
        self._connection = connection
        # On lines of their own, since the query may end with a comment.
        self._from = f"FROM (\n{text}\n) AS q"
        # By itself at first, so that errors are about the text as the user knows it.
        with connection.cursor(name="phygitals_described") as alone:
            described = alone.execute(text.encode()).description or []
        names = [column.name for column in described]
        found = find_columns(names, (*COLUMNS, CURSOR))
        if missing := [name for name in ("session_id", CURSOR) if name not in found.places]:
            shown = printable(" ".join(", ".join(names).split()))[:_SHOWN] or "none"
            raise DatabaseError(
                f"the query has no column {' and no column '.join(missing)} (it has {shown}); "
                "correct PHYGITALS_SUBMISSIONS_QUERY, as in `SELECT session_id, created_at AS cursor FROM purchases`"
            )
        if found.repeated:
            raise DatabaseError(f"the query repeats {' and '.join(found.repeated)}; name each column once")
        self.columns = tuple(name for name in COLUMNS if name in found.places)
        self.unknown = found.unknown
        of_cursor = described[found.places[CURSOR]]
        if of_cursor.type_code not in _KINDS:
            raise DatabaseError(f"the query's column cursor is of type {of_cursor.type_display}; {_ALLOWED}")
        self.kind = _KINDS[of_cursor.type_code]
        self._cursor = _column(names[found.places[CURSOR]])
        self._selected = ", ".join(_column(names[found.places[name]]) for name in self.columns)

    def check_cursors(self) -> None:
        """Raises DatabaseError if a row has no cursor: no later read could tell whether it was read."""
        if self._value(f"SELECT EXISTS (SELECT {self._from} WHERE {self._cursor} IS NULL)"):
            raise DatabaseError(
                "the query has rows whose cursor is NULL; give each row one, or leave these rows out of "
                "PHYGITALS_SUBMISSIONS_QUERY"
            )

    def now(self) -> int | None:
        """The value of the server's time; None if the cursor is a number."""
        sql = "SELECT (extract(epoch FROM now()) * 1000000)::bigint"
        return None if self.kind is NUMBER else int(self._value(sql))

    def has_rows(self) -> bool:
        return bool(self._value(f"SELECT EXISTS (SELECT {self._from})"))

    def count_since(self, start: int | None) -> int:
        """The number of rows whose cursor is at least `start`."""
        return int(self._value(f"SELECT count(*) {self._from}{self._since(start)}"))

    def rows_since(self, start: int | None, at_once: int) -> Iterator[list[tuple[Any, ...]]]:
        """The rows whose cursor is at least `start`, in its order: values of `columns`, and the cursor as text."""
        with self._connection.cursor(name="phygitals_submissions") as rows:
            rows.execute(
                f"SELECT {self._selected}, {self._cursor}::text {self._from}{self._since(start)} "
                f"ORDER BY {self._cursor}".encode()
            )
            while found := rows.fetchmany(at_once):
                # Text of a database without an encoding comes as bytes.
                yield [(*row[:-1], row[-1].decode()) for row in found] if isinstance(found[0][-1], bytes) else found

    def _since(self, start: int | None) -> str:
        return "" if start is None else f" WHERE {self._cursor} >= {self.kind.literal(start)}"

    def _value(self, sql: str) -> Any:
        row = self._connection.execute(sql.encode()).fetchone()
        return row[0] if row else None


def _column(name: str) -> str:
    """The column in SQL, under its own name."""
    return 'q."{}"'.format(name.replace('"', '""'))
