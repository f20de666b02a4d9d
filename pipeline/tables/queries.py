"""The SQL from which tables are derived: one file a table, and the macros that they share."""

from __future__ import annotations

import functools
import re
from datetime import datetime
from pathlib import Path

import duckdb

from pipeline.schema.table import Table

_SQL = Path(__file__).parent / "sql"
MACROS = ("macros", "card_macros", "mart_macros")
_COMMENT = re.compile(r"^--.*\n", re.MULTILINE)
_MACRO = re.compile(r"^CREATE TEMP MACRO (\w+).*?(?=^CREATE|\Z)", re.MULTILINE | re.DOTALL)
_CALL = re.compile(r"(\w+)\s*\(")


def query(table: Table) -> str:
    """The query that derives the table from its sources."""
    return (_SQL / f"{table.name}.sql").read_text(encoding="utf-8")


def macros() -> str:
    """The rules that several queries share, as SQL macros: those of answers, of cards, and of marts."""
    return "\n".join((_SQL / f"{name}.sql").read_text(encoding="utf-8") for name in MACROS)


def expiry_macro(now: datetime, expire_after: float) -> str:
    """A session is given up when its time is over and it was asked at least once since it was submitted."""
    if not expire_after:
        return "CREATE TEMP MACRO is_expired(submitted_at, polled_at) AS false"
    return f"""
        CREATE TEMP MACRO is_expired(submitted_at, polled_at) AS
            submitted_at + to_microseconds({round(expire_after * 1_000_000)}) <= TIMESTAMPTZ '{now.isoformat()}'
            AND coalesce(polled_at >= submitted_at, false)
    """


def macros_used_by(sql: str) -> list[str]:
    """The macros that some SQL calls, and those that these call, each as its SQL."""
    return _used(sql, macros())


def run(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.DuckDBPyConnection:
    """Runs SQL that calls macros on a connection that has none yet."""
    for macro in macros_used_by(sql):
        connection.execute(macro)
    return connection.execute(sql)


@functools.cache
def _used(sql: str, shared: str) -> list[str]:
    statements = _statements(shared)
    used: set[str] = set()
    waiting = [sql]
    while waiting:
        called = statements.keys() & set(_CALL.findall(waiting.pop())) - used
        used |= called
        waiting += [statements[name] for name in called]
    return [statements[name] for name in sorted(used)]


@functools.cache
def _statements(shared: str) -> dict[str, str]:
    """Each macro by its name."""
    return {match[1]: match[0].strip() for match in _MACRO.finditer(_COMMENT.sub("", shared))}
