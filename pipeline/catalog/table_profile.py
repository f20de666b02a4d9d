"""The profile of a table: size, rows by day, counts by value, and the age of the oldest pending session."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import duckdb

from pipeline.catalog.markdown import code, counts_in_words, preview, sparkline
from pipeline.schema.raw import PENDING_SESSIONS, STATUS_RESPONSES
from pipeline.schema.table import TIME, Partition, Table
from pipeline.storage.day_parts import day_of
from pipeline.storage.objects import Store
from pipeline.storage.parquet_query import row_counts_of

_SAMPLE_ROWS = 2
_OLDEST_SHOWN = 5


@dataclass(frozen=True)
class TableProfile:
    """Numbers with stable names, for plots over time, and texts in Markdown."""

    numbers: dict[str, int | float]
    texts: dict[str, str]


def table_profile(connection: duckdb.DuckDBPyConnection, store: Store, table: Table, now: datetime) -> TableProfile:
    """The profile of the current table, on a connection with a view of it under its name."""
    by_day = _rows_by_day(connection, store, table)
    numbers: dict[str, int | float] = {
        "dagster/row_count": _scalar(connection, f"SELECT count(*) FROM {table.name}"),
        "bytes": store.byte_count(table),
    }
    texts = {"rows_by_day": _in_words(by_day)} if by_day else {}
    texts |= _rows_by_value(connection, table)
    texts["preview"] = preview(_sample(connection, table))
    if table is PENDING_SESSIONS:
        numbers["oldest_age_seconds"] = _oldest_age(connection, now)
        texts["oldest"] = _oldest(connection)
    return TableProfile(numbers, texts)


def retries(connection: duckdb.DuckDBPyConnection, store: Store, since: datetime) -> int:
    """The number of repeated requests since a time: requests minus distinct sessions."""
    days = [day for day in store.parts(STATUS_RESPONSES) if day >= f"{since:%Y-%m-%d}"]
    return _scalar(
        connection,
        f"SELECT count(*) - count(DISTINCT session_id) FROM {store.scan(STATUS_RESPONSES, days)} "
        f"WHERE requested_at >= TIMESTAMPTZ '{since.isoformat()}'",
    )


def _rows_by_day(connection: duckdb.DuckDBPyConnection, store: Store, table: Table) -> list[tuple[str, int]]:
    """The rows by UTC day: by the table's parts, else by a date in its key, else by its first required time."""
    if table.partition is not Partition.NONE:
        days = {path: day_of(part) for part, paths in store.parts(table).items() for path in paths}
        if not days:
            return []
        # Counts from the objects' metadata; no rows are read.
        by_day: dict[str, int] = {}
        for path, count in row_counts_of(connection, store.fetched(days)).items():
            by_day[days[path]] = by_day.get(days[path], 0) + count
        return sorted((day, count) for day, count in by_day.items() if count)
    times = [c.name for c in table.columns if c.key and c.type == "DATE"]
    times += [c.name for c in table.columns if c.is_required and c.type == TIME]
    if not times:
        return []
    counted = connection.execute(
        f"SELECT {times[0]}::DATE::VARCHAR, count(*) FROM {table.name} GROUP BY ALL ORDER BY 1"
    )
    return counted.fetchall()


def _in_words(by_day: list[tuple[str, int]]) -> str:
    line = sparkline([count for _, count in by_day], "rows by day")
    most_day, most = max(by_day, key=lambda pair: pair[1])
    (first, _), (last, latest) = by_day[0], by_day[-1]
    days = f"{len(by_day)} days with rows, {first} to {last}" if len(by_day) > 1 else first
    return f"{line} {days}; {latest:,} on the last, at most {most:,} on {most_day}"


def _rows_by_value(connection: duckdb.DuckDBPyConnection, table: Table) -> dict[str, str]:
    """The rows of the whole table by accepted value, one text for each column with such values."""
    texts: dict[str, str] = {}
    for column in (column for column in table.columns if column.accepted):
        found = dict(connection.execute(f"SELECT {column.name}, count(*) FROM {table.name} GROUP BY ALL").fetchall())
        texts[f"rows_by_{column.name}"] = counts_in_words({value: found.get(value, 0) for value in column.accepted})
    return texts


def _sample(connection: duckdb.DuckDBPyConnection, table: Table) -> list[dict[str, object]]:
    """A few rows with shortened texts, since a body may have several megabytes."""
    names = ", ".join(f'left("{c.name}"::VARCHAR, 200) AS "{c.name}"' for c in table.columns)
    found = connection.execute(f"SELECT {names} FROM (FROM {table.name} LIMIT {_SAMPLE_ROWS})")
    return [dict(zip((c.name for c in table.columns), row, strict=True)) for row in found.fetchall()]


def _oldest_age(connection: duckdb.DuckDBPyConnection, now: datetime) -> float:
    """The age of the oldest pending session in seconds; 0 if there is none."""
    (first,) = connection.execute("SELECT min(submitted_at) FROM pending_sessions").fetchone() or (None,)
    return round((now - first).total_seconds(), 1) if first else 0.0


def _oldest(connection: duckdb.DuckDBPyConnection) -> str:
    found = connection.execute(
        f"SELECT session_id, strftime(submitted_at, '%Y-%m-%d %H:%M UTC'), poll_count FROM pending_sessions "
        f"ORDER BY submitted_at, session_id LIMIT {_OLDEST_SHOWN}"
    ).fetchall()
    lines = [f"- {code(session_id)} submitted {at}, polled {count:,} times" for session_id, at, count in found]
    return "\n".join(lines) or "no session is pending"


def _scalar(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    row = connection.execute(sql).fetchone()
    return int(row[0]) if row else 0
