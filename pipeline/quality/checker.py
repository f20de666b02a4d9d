"""Runs the checks of every asset: declared checks, reconciliations and observations."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import duckdb

from pipeline.catalog.markdown import code
from pipeline.quality.findings import Finding, FindingRecord
from pipeline.quality.observations import OBSERVATIONS
from pipeline.quality.reconciliations import RECONCILIATIONS
from pipeline.quality.rules import Check, declared
from pipeline.schema import TABLES
from pipeline.schema.table import Table
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.errors import DataDirectoryError
from pipeline.storage.manifest import digest
from pipeline.transform.queries import macros, macros_used_by

_SHOWN = 5

CHECKS: tuple[Check, ...] = (
    *(check for table in TABLES.values() if table.is_asset for check in declared(table)),
    *RECONCILIATIONS,
    *OBSERVATIONS,
)


class Checker:
    """Runs the checks of one data directory over one connection, with one view per table.

    Use as a context manager; the connection is opened for the first check that must be computed.
    """

    def __init__(self, data: DataDirectory, clock: Callable[[], datetime]) -> None:
        self._data = data
        self._clock = clock
        self._record = FindingRecord.of(data.records)
        self._returned = FindingRecord()
        self._views: dict[str, str] = {}
        self._stack = contextlib.ExitStack()
        self._connection: duckdb.DuckDBPyConnection | None = None

    def __enter__(self) -> Checker:
        return self

    def __exit__(self, *error: Any) -> None:
        # The record is a cache: a failing disk must not fail a finished run.
        with contextlib.suppress(DataDirectoryError):
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
        computed = self._computed([check for check in checks if found[check] is None], states)
        for check, finding in computed.items():
            self._record.note(check.key, inputs[check], replace(finding, computed_at=self._clock()))
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
            connection.execute(f"CREATE OR REPLACE TEMP VIEW {table.name} AS FROM {self._data.store.scan(table)}")
            self._views[table.name] = state

    def _states(self, checks: Sequence[Check]) -> dict[str, str]:
        read = {table.name: table for check in checks for table in check.reads}
        return {name: digest(self._data.store.etags(table)) for name, table in read.items()}

    def _computed(self, checks: Sequence[Check], states: dict[str, str]) -> dict[Check, Finding]:
        if not checks:
            return {}
        connection = self._connected()
        for name in {table.name for check in checks for table in check.reads}:
            self._create_view(connection, TABLES[name], states[name])
        passing = _passing_row_checks(connection, checks)
        return {check: Finding(0, []) if check in passing else run(check, connection) for check in checks}

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


def _passing_row_checks(connection: duckdb.DuckDBPyConnection, checks: Sequence[Check]) -> set[Check]:
    """The passing checks about single rows, from one scan of their table."""
    of_rows = [check for check in checks if check.condition]
    if not of_rows:
        return set()
    counted = ", ".join(f"count(*) FILTER ({check.condition})" for check in of_rows)
    counts = connection.execute(f"SELECT {counted} FROM {of_rows[0].table.name}").fetchone() or ()
    return {check for check, count in zip(of_rows, counts, strict=True) if count == 0}


def _fingerprint(check: Check, states: dict[str, str]) -> str:
    sql = f"{check.offenders};{check.compared}"
    return digest(sql, macros_used_by(sql), {table.name: states[table.name] for table in check.reads})


def _row(names: list[str], values: tuple[object, ...]) -> str:
    return ", ".join(f"{name} {code(value) or 'NULL'}" for name, value in zip(names, values, strict=True))


def _count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM ({query})").fetchone()
    return int(row[0]) if row else 0
