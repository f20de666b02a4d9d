"""The SQL of derivations: one file per table, and shared macros."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import duckdb

from pipeline.schema import TABLES
from pipeline.schema.table import Table, Zone
from pipeline.transform.generated_sql import filled_in

_SQL = Path(__file__).parent / "sql"
MACROS = ("macros", "card_macros", "mart_macros")
_COMMENT = re.compile(r"^--.*\n", re.MULTILINE)
_MACRO = re.compile(r"^CREATE TEMP MACRO (\w+).*?(?=^CREATE|\Z)", re.MULTILINE | re.DOTALL)
_CALL = re.compile(r"(\w+)\s*\(")

# Fingerprints of purchases by part, to find the changed parts.
CONTENT_BY_PART = """
    SELECT part, count(*), bit_xor(fingerprint), sum(fingerprint)
    FROM (SELECT submitted_at, hash(purchase) AS fingerprint FROM {source} AS purchase)
        ASOF JOIN rebuilt_parts ON submitted_at >= since
    GROUP BY part
"""

# Whether a submission is in one of the parts to derive: whole days, and minutes of days that are cut.
IS_CHOSEN = """
    CREATE OR REPLACE TEMP MACRO is_chosen(submitted_at) AS utc_day(submitted_at) IN (SELECT day FROM chosen_days)
        OR utc_minute(submitted_at) IN (SELECT minute FROM chosen_minutes)
"""


def query(table: Table) -> str:
    """The query that derives the table from its sources."""
    return _text(table.name)


def answers_of(table: Table) -> Table:
    """The raw table whose answers a table with `reads_answer_text` reads in the view `answers`: its source."""
    (raw,) = (TABLES[name] for name in table.sources if TABLES[name].zone is Zone.RAW)
    return raw


def macros() -> str:
    """The shared SQL macros: rules for answers, cards and marts."""
    return "\n".join(_text(name) for name in MACROS)


def _text(name: str) -> str:
    return filled_in((_SQL / f"{name}.sql").read_text(encoding="utf-8"))


def time_macros(now: datetime, expire_after: float) -> str:
    """The macros that depend on the time as of which tables are built.

    A session is expired if `expire_after` seconds have passed since its submission and it was polled at least once
    since then. A time in the future was written by a machine whose clock was ahead.
    """
    until = f"submitted_at + to_microseconds({round(expire_after * 1_000_000)}) <= TIMESTAMPTZ '{now.isoformat()}'"
    is_expired = f"{until} AND coalesce(polled_at >= submitted_at, false)" if expire_after else "false"
    return f"""
        CREATE TEMP MACRO is_expired(submitted_at, polled_at) AS {is_expired};
        CREATE TEMP MACRO time_of_run() AS TIMESTAMPTZ '{now.isoformat()}';
        CREATE TEMP MACRO is_future(moment) AS coalesce(moment > time_of_run(), false);
    """


def macros_used_by(sql: str) -> list[str]:
    """The definitions of the macros that the SQL calls, directly or indirectly."""
    return _used(sql, macros())


def run(
    connection: duckdb.DuckDBPyConnection, sql: str, parameters: Mapping[str, object] | None = None
) -> duckdb.DuckDBPyConnection:
    """Runs SQL on a connection: defines the macros that it calls first."""
    defined = list(_statements(macros()).values())
    for macro in sorted(macros_used_by(sql), key=defined.index):  # a macro may call only those that exist
        connection.execute(macro.replace("CREATE TEMP", "CREATE OR REPLACE TEMP", 1))
    return connection.execute(sql, parameters)


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
    """The macros' definitions by name."""
    return {match[1]: match[0].strip() for match in _MACRO.finditer(_COMMENT.sub("", shared))}
