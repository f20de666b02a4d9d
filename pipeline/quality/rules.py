"""What a check is, and the checks that follow from a table's declaration.

A check is a query for the rows that break it: none found, it passes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from pipeline.schema import TABLES
from pipeline.schema.table import Column, Reference, Table, Zone


class Severity(Enum):
    """What rows that break a check come to: nothing is built on the table; a warning; or a note, and it passes."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, eq=False)
class Check:
    """`offenders` selects the rows that break the rule.

    Where a rule needs what may not be known, `compared` selects what it could be applied to: when there is nothing,
    the check says so, lest it seem that all was well. A rule about each row by itself has a `condition`, which the
    rows that break it fulfil: all such rules of a table are counted in one scan.
    """

    table: Table
    name: str
    description: str
    offenders: str
    severity: Severity = Severity.ERROR
    compared: str | None = None
    condition: str | None = None

    @property
    def is_blocking(self) -> bool:
        return self.severity is Severity.ERROR

    @property
    def key(self) -> str:
        """The check's name among those of all tables."""
        return f"{self.table.name}.{self.name}"

    @functools.cached_property
    def reads(self) -> tuple[Table, ...]:
        """The tables that its SQL names."""
        words = set(re.findall(r"\w+", f"{self.offenders} {self.compared}"))
        return tuple(table for table in TABLES.values() if table.name in words)


def of_each_row(
    table: Table,
    name: str,
    description: str,
    shown: Sequence[str],
    condition: str,
    severity: Severity = Severity.ERROR,
    order: str = "",
) -> Check:
    """A check that looks at each row of its table by itself.

    `shown` are the columns that examples show, `order` says which rows are the first of them.
    """
    offenders = f"SELECT {', '.join(shown)} FROM {table.name} WHERE {condition} {order}".rstrip()
    return Check(table, name, description, offenders, severity, condition=condition)


def declared(table: Table) -> Iterator[Check]:
    """The checks of keys, of what may not be NULL, of accepted values and of references."""
    if table.key:
        yield _key(table)
    if any(c.is_required for c in table.columns):
        yield _required(table)
    for column in table.columns:
        if column.accepted:
            yield _accepted(table, column)
    for reference in table.references:
        yield _reference(table, reference)


def _key(table: Table) -> Check:
    key = ", ".join(table.key)
    return Check(
        table,
        "key_is_unique",
        f"No two rows share {key}.",
        f"SELECT {key}, count(*) AS row_count FROM {table.name} GROUP BY ALL HAVING count(*) > 1",
        # What is derived from raw takes one row of each session, whatever else was kept of it.
        Severity.WARNING if table.zone is Zone.RAW else Severity.ERROR,
    )


def _required(table: Table) -> Check:
    required = [c.name for c in table.columns if c.is_required]
    return of_each_row(
        table,
        "required_columns_are_set",
        f"No NULL in {', '.join(required)}.",
        required,
        " OR ".join(f"{c} IS NULL" for c in required),
    )


def _accepted(table: Table, column: Column) -> Check:
    known = ", ".join(f"'{value}'" for value in column.accepted)
    return of_each_row(
        table,
        f"{column.name}_is_known",
        f"Every {column.name} is one of {', '.join(column.accepted)}.",
        [*table.key, column.name],
        f"{column.name} NOT IN ({known})",
    )


def _reference(table: Table, reference: Reference) -> Check:
    columns = ", ".join(reference.columns)
    is_set = " AND ".join(f"{column} IS NOT NULL" for column in reference.columns)
    return Check(
        table,
        f"refers_to_{reference.table}",
        f"Every {columns} stands in {reference.table}.",
        f"SELECT DISTINCT {columns} FROM {table.name} ANTI JOIN {reference.table} USING ({columns}) WHERE {is_set}",
    )
