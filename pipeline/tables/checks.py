"""Checks of every table that users see: from its declaration, and from what must add up or is unusual."""

from __future__ import annotations

import re
from dataclasses import dataclass

import duckdb

from pipeline.lake.database import connect
from pipeline.lake.directory import DataDirectory
from pipeline.schema import TABLES
from pipeline.tables.markdown import code
from pipeline.tables.observations import OBSERVATIONS
from pipeline.tables.queries import macros
from pipeline.tables.reconciliations import RECONCILIATIONS
from pipeline.tables.rules import Check, declared

_SHOWN = 5

CHECKS: tuple[Check, ...] = (
    *(check for table in TABLES.values() if table.is_asset for check in declared(table)),
    *RECONCILIATIONS,
    *OBSERVATIONS,
)


@dataclass(frozen=True)
class Finding:
    """How many rows break a check, and the first few of them, in Markdown."""

    offender_count: int
    examples: list[str]
    is_of_nothing: bool = False

    @property
    def message(self) -> str | None:
        """The rows that break it, in words, or that there was nothing to compare; None when all is well."""
        if self.is_of_nothing:
            return "nothing was compared: what the rule compares with is not known"
        if not self.examples:
            return None
        more = self.offender_count - len(self.examples)
        return "; ".join(self.examples) + (f"; and {more} more" if more else "")


def run(check: Check, data: DataDirectory) -> Finding:
    """Runs one check over the data as it stands."""
    with connect(data) as connection:
        connection.execute(macros())
        words = set(re.findall(r"\w+", f"{check.offenders} {check.compared}"))
        for table in (table for table in TABLES.values() if table.name in words):
            connection.execute(f"CREATE TEMP VIEW {table.name} AS FROM {data.store.scan(table)}")
        found = connection.execute(check.offenders)
        names = [column[0] for column in found.description or []]
        examples = [_row(names, row) for row in found.fetchmany(_SHOWN)]
        count = _count(connection, check.offenders)
        is_of_nothing = check.compared is not None and _count(connection, check.compared) == 0
    return Finding(count, examples, is_of_nothing)


def _row(names: list[str], values: tuple[object, ...]) -> str:
    return ", ".join(f"{name} {code(value) or 'NULL'}" for name, value in zip(names, values, strict=True))


def _count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM ({query})").fetchone()
    return int(row[0]) if row else 0
