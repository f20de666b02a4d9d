"""Tables derived from given rows of their sources."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import duckdb

from pipeline.schema import TABLES
from pipeline.transform.queries import macros, query, time_macros

Row = dict[str, Any]


def derived(given: dict[str, list[Row]], *names: str) -> duckdb.DuckDBPyConnection:
    """The tables of these names, derived one after the other from given rows of others, in which the rest is NULL."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(macros() + time_macros(datetime.now(UTC), 0))
    for name, rows in given.items():
        columns = ", ".join(f"{c.name} {c.type}" for c in TABLES[name].columns)
        connection.execute(f"CREATE TABLE {name} ({columns})")
        for row in rows:
            marks = ", ".join("?" for _ in row)
            connection.execute(f"INSERT INTO {name} ({', '.join(row)}) VALUES ({marks})", list(row.values()))
    for name in names:
        connection.execute(f"CREATE TABLE {name} AS {query(TABLES[name])}")
    return connection


def records(connection: duckdb.DuckDBPyConnection, sql: str) -> list[Row]:
    """The rows of a query as dictionaries."""
    cursor = connection.execute(sql)
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
