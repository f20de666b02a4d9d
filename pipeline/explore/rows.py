"""Rows of a query, as the page shows, sorts and exports them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import duckdb

from pipeline.publish.export import write_rows
from pipeline.publish.reading import next_rows
from pipeline.storage.spill import temporary_folder

ROWS_IN_CSV = 100_000


@dataclass(frozen=True)
class Rows:
    """Names of columns and rows; `is_cut` means that the query has more."""

    names: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    is_cut: bool = False

    def sorted_by(self, name: str, is_descending: bool) -> Rows:
        """The same rows in the order of a column; unknown values come last. An unknown column changes nothing."""
        if name not in self.names:
            return self
        at = self.names.index(name)
        known = [row for row in self.rows if row[at] is not None]
        unknown = [row for row in self.rows if row[at] is None]
        return Rows(
            self.names, sorted(known, key=lambda row: _key(row[at]), reverse=is_descending) + unknown, self.is_cut
        )


def fetched(cursor: duckdb.DuckDBPyConnection, limit: int | None = None) -> Rows:
    """What a query found; with a limit, so many rows at most. Raises ValueRangeError and duckdb.Error."""
    names = tuple(column[0] for column in cursor.description or [])
    if not names:
        return Rows((), [])
    if limit is None:
        return Rows(names, next_rows(cursor))
    found = next_rows(cursor, limit + 1)
    return Rows(names, found[:limit], len(found) > limit)


def as_csv(
    cursor: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, object] | None, memory_limit: str
) -> bytes:
    """The first `ROWS_IN_CSV` rows of a query, as `phygitals query` writes them: text that a spreadsheet would run as a
    formula gets a leading apostrophe. Raises duckdb.Error.
    """
    with temporary_folder() as folder:
        rows = cursor.sql(sql, params=parameters or None)
        write_rows(rows.limit(ROWS_IN_CSV), "csv", folder / "rows.csv", folder, memory_limit)
        return (folder / "rows.csv").read_bytes()


def _key(value: Any) -> tuple[str, Any]:
    """Values of one kind are compared as such; where kinds meet, or lists do, their text is."""
    match value:
        case bool() | int() | float() | Decimal():
            return "", value
        case dt.datetime() | dt.date() | str():
            return type(value).__name__, value
        case _:
            return "text", str(value)
