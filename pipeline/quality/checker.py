"""Runs the checks of every asset: declared checks, reconciliations and observations."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import duckdb

from pipeline.catalog.markdown import code
from pipeline.errors import PipelineError
from pipeline.quality.changes import Changes, passing_row_checks
from pipeline.quality.findings import Finding, FindingRecord
from pipeline.quality.lake_parts import LakeParts
from pipeline.quality.observations import OBSERVATIONS
from pipeline.quality.reconciliations import RECONCILIATIONS
from pipeline.quality.rules import Check, declared
from pipeline.schema import TABLES
from pipeline.schema.staging import PURCHASES
from pipeline.schema.table import Partition, Table
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.manifest import digest
from pipeline.transform.queries import macros, macros_used_by

_SHOWN = 5

CHECKS: tuple[Check, ...] = (
    *(check for table in TABLES.values() if table.is_asset for check in declared(table)),
    *RECONCILIATIONS,
    *OBSERVATIONS,
)

_CUT_BY_ANSWER = frozenset[str]().union(*(check.words for check in CHECKS if check.cut_by is Partition.OBSERVED))
_COLUMNS_OF_PURCHASES = tuple(column.name for column in PURCHASES.columns if column.name in _CUT_BY_ANSWER)


class Checker:
    """Runs the checks of one data directory over one connection, with one view per table.

    Use as a context manager; the connection is opened for the first check that must be computed.
    """

    def __init__(self, data: DataDirectory, clock: Callable[[], datetime]) -> None:
        self._data = data
        self._clock = clock
        self._record = FindingRecord.of(data.records)
        self._returned = FindingRecord()
        self._parts = LakeParts(data, _COLUMNS_OF_PURCHASES)
        self._views: dict[str, str] = {}
        self._stack = contextlib.ExitStack()
        self._connection: duckdb.DuckDBPyConnection | None = None

    def __enter__(self) -> Checker:
        return self

    def __exit__(self, *error: Any) -> None:
        # The record is a cache: a failing disk, or a check that somebody executed meanwhile, fails no finished run.
        with contextlib.suppress(PipelineError, OSError):
            self._record.save(self._data.records)
        self._stack.__exit__(*error)

    def findings(self, checks: Sequence[Check]) -> dict[Check, Finding]:
        """The findings of the checks of one table, from the record if their inputs are unchanged."""
        return self._found(checks, self._record)

    def compute(self, checks: Sequence[Check]) -> dict[Check, Finding]:
        """Computes the findings without the record; reuses only findings that this checker has returned."""
        return self._found(checks, self._returned)

    def _found(self, checks: Sequence[Check], known: FindingRecord) -> dict[Check, Finding]:
        states = self._states(checks)
        inputs = {check: _fingerprint(check, states) for check in checks}
        found = {check: known.finding(check.key, inputs[check]) for check in checks}
        computed = self._computed([check for check in checks if found[check] is None], inputs, states, known)
        findings = {check: found[check] or computed[check] for check in checks}
        for check, finding in findings.items():
            self._returned.note(check.key, inputs[check], finding)
        return findings

    def connection_with(self, table: Table) -> duckdb.DuckDBPyConnection:
        """The connection, with a view of the current table under its name."""
        connection = self._connected()
        self._create_view(connection, table, digest(self._data.store.etags(table)))
        return connection

    def _create_view(self, connection: duckdb.DuckDBPyConnection, table: Table, state: str) -> None:
        if self._views.get(table.name) != state:
            connection.execute(f"CREATE OR REPLACE TEMP VIEW {table.name} AS FROM {self._parts.whole(table)}")
            self._views[table.name] = state

    def _states(self, checks: Sequence[Check]) -> dict[str, str]:
        read = {table.name: table for check in checks for table in check.reads}
        return {name: digest(self._data.store.etags(table)) for name, table in read.items()}

    def _computed(
        self, checks: list[Check], inputs: dict[Check, str], states: dict[str, str], known: FindingRecord
    ) -> dict[Check, Finding]:
        if not checks:
            return {}
        self._parts.refresh()
        changes = Changes(self._parts, known, states, self._connected())
        passing = set(changes.passing([check for check in checks if check.cut_by is not Partition.NONE]))
        self._views = {name: state for name, state in self._views.items() if name not in changes.replaced_views}
        whole = [check for check in checks if check not in passing]
        for name in {table.name for check in whole for table in check.reads}:
            self._create_view(self._connected(), TABLES[name], states[name])
        passing |= passing_row_checks(self._connected(), whole)
        found = {check: Finding(0, []) if check in passing else run(check, self._connected()) for check in checks}
        changes.note_inputs(check for check, finding in found.items() if not finding.offender_count)
        # Without the lock, a run may have replaced objects meanwhile: then it is unknown which rows were looked at.
        if self._data.is_held or self._states(checks).items() <= states.items():
            changes.record(found, self._record)
            for check, finding in found.items():
                self._record.note(check.key, inputs[check], replace(finding, computed_at=self._clock()))
        return found

    def _connected(self) -> duckdb.DuckDBPyConnection:
        if self._connection is None:
            self._connection = self._stack.enter_context(connect(self._data))
            self._connection.execute(macros())
        return self._connection


def checks_of(table: Table) -> tuple[Check, ...]:
    """The checks of one table."""
    return tuple(check for check in CHECKS if check.table is table)


def run(check: Check, connection: duckdb.DuckDBPyConnection) -> Finding:
    """Computes one check on a connection with the macros and the tables that it reads."""
    found = connection.execute(check.offenders)
    names = [column[0] for column in found.description or []]
    rows = found.fetchmany(_SHOWN + 1)
    examples = [_row(names, row) for row in rows[:_SHOWN]]
    count = len(rows) if len(rows) <= _SHOWN else _count(connection, check.offenders)
    is_of_nothing = check.compared is not None and _count(connection, check.compared) == 0
    return Finding(count, examples, is_of_nothing)


def _fingerprint(check: Check, states: dict[str, str]) -> str:
    sql = f"{check.offenders};{check.compared}"
    return digest(sql, macros_used_by(sql), {table.name: states[table.name] for table in check.reads})


def _row(names: list[str], values: tuple[object, ...]) -> str:
    return ", ".join(f"{name} {code(value) or 'NULL'}" for name, value in zip(names, values, strict=True))


def _count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM ({query})").fetchone()
    return int(row[0]) if row else 0
