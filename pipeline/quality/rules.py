"""The type `Check`, and the checks generated from a table's declaration.

A check is a query for the rows that break its rule. It passes if there are none.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from pipeline.schema import TABLES
from pipeline.schema.table import Column, Partition, Reference, Strategy, Table, Zone


class Severity(Enum):
    """The effect of offending rows: ERROR blocks dependent tables, WARNING warns, INFO notes and passes."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, eq=False)
class Check:
    """A rule about a table. `offenders` selects the rows that break it.

    If a rule needs optional data, `compared` selects the rows to which it applies, and the check reports if there are
    none. A rule about single rows has a `condition` that offending rows fulfil; one scan counts all such rules of a
    table.

    A check with a `cut_by` that passed before passes again if it finds nothing in the parts that have changed since.
    Its offenders in one part must then depend on no rows of other parts: tables cut by that time are read in changed
    parts alone, and with a cut by time of answer, purchases resolved in them. If rows of other parts matter,
    `among_changed` selects the same offenders as `offenders`, but only those with a row of the changed parts. These
    rows are in views with names such as `changed_pulls`.

    A check that `locates` rows shows by passing that the rows of each session are in the part of its resolution. It
    looks at each changed part by itself. If it finds something, the table's other checks cannot be judged by parts.
    """

    table: Table
    name: str
    description: str
    offenders: str
    severity: Severity = Severity.ERROR
    compared: str | None = None
    condition: str | None = None
    cut_by: Partition = Partition.NONE
    among_changed: str | None = None
    locates: bool = False

    @property
    def is_blocking(self) -> bool:
        return self.severity is Severity.ERROR

    @property
    def key(self) -> str:
        """The check's name among those of all tables."""
        return f"{self.table.name}.{self.name}"

    @functools.cached_property
    def words(self) -> frozenset[str]:
        """The words of its SQL, names of tables and columns among them."""
        return frozenset(re.findall(r"\w+", f"{self.offenders} {self.compared}"))

    @functools.cached_property
    def reads(self) -> tuple[Table, ...]:
        """The tables that its SQL names."""
        return tuple(table for table in TABLES.values() if table.name in self.words)


def of_each_row(
    table: Table,
    name: str,
    description: str,
    shown: Sequence[str],
    condition: str,
    severity: Severity = Severity.ERROR,
    order: str = "",
) -> Check:
    """A check about single rows of its table.

    `shown` are the columns of the examples; `order` decides which rows come first.
    """
    offenders = f"SELECT {', '.join(shown)} FROM {table.name} WHERE {condition} {order}".rstrip()
    cut_by = Partition.NONE if table.strategy is Strategy.BY_DAY else table.partition
    return Check(table, name, description, offenders, severity, condition=condition, cut_by=cut_by)


def declared(table: Table) -> Iterator[Check]:
    """The checks of keys, required columns, accepted values and references."""
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

    def repeated(rows: str) -> str:
        return f"SELECT {key}, count(*) AS row_count FROM {rows} GROUP BY ALL HAVING count(*) > 1"

    # No other check shows that the rows of a session are in one part by time of submission.
    is_by_submission = table.partition is Partition.SUBMITTED and table.zone is Zone.LAKE
    changed = f"{table.name} SEMI JOIN changed_{table.name} USING ({key})"
    return Check(
        table,
        "key_is_unique",
        f"No two rows share {key}.",
        repeated(table.name),
        # Derived tables use one row per session, so duplicates in raw do not affect them.
        Severity.WARNING if table.zone is Zone.RAW else Severity.ERROR,
        cut_by=Partition.SUBMITTED if is_by_submission else _cut_of_sessions(table),
        among_changed=repeated(changed) if is_by_submission else None,
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
        f"Every {columns} exists in {reference.table}.",
        f"SELECT DISTINCT {columns} FROM {table.name} ANTI JOIN {reference.table} USING ({columns}) WHERE {is_set}",
        cut_by=_cut_of_sessions(table),
        locates=_cut_of_sessions(table) is Partition.OBSERVED,
    )


def _cut_of_sessions(table: Table) -> Partition:
    """The cut of checks that compare the rows of a session in a table by time of answer, or these with its purchase."""
    is_cut = table.partition is Partition.OBSERVED and table.zone is Zone.LAKE
    return Partition.OBSERVED if is_cut else Partition.NONE
