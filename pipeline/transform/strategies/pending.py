"""Pending sessions: a reader that writes nothing, and the table `pending_sessions`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime

import duckdb

from pipeline.schema import TABLES
from pipeline.schema.raw import PENDING_SESSIONS
from pipeline.schema.staging import PURCHASES
from pipeline.storage.connection import stream
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.manifest import inputs_of
from pipeline.transform.build_report import BuildReport
from pipeline.transform.context import BuildContext
from pipeline.transform.queries import query
from pipeline.transform.strategies import purchases

# Sessions that were never polled come first, newest first. The others follow, longest unpolled first.
_ORDER = "last_polled_at NULLS FIRST, submitted_at DESC, session_id"


@contextlib.contextmanager
def pending_sessions(data: DataDirectory, now: datetime, expire_after: float) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the temporary table `pending_sessions` as of `now`, for readers. Writes nothing."""
    with BuildContext(data, now, expire_after) as context:
        _find(context)
        yield context.connection


def build(context: BuildContext, report: BuildReport) -> None:
    """Finds the sessions in every run, because sessions expire with time. Writes the table only if it changed."""
    table = report.table
    context.inspection.look_through(PURCHASES)
    _find(context)
    found = context.connection.execute("SELECT count(*), bit_xor(hash(pending_sessions)) FROM pending_sessions")
    inputs = inputs_of([(c.name, c.type) for c in table.columns], found.fetchone())
    if context.is_current(table, table.name, inputs):
        report.unchanged_count += 1
        return
    rows = stream(context.connection, f"FROM pending_sessions ORDER BY {_ORDER}")
    context.write(report, table.name, inputs, rows)


def _find(context: BuildContext) -> None:
    """Creates the temporary table `pending_sessions`."""
    context.name(TABLES[name] for name in PENDING_SESSIONS.sources)
    columns = ", ".join(f'"{c.name}" {c.type}' for c in PENDING_SESSIONS.columns)
    context.connection.execute(f"CREATE OR REPLACE TEMP TABLE pending_sessions ({columns})")
    for parts in purchases.batches(context, _open_parts(context)):
        context.choose(parts)
        # A session submitted several times may be found in several parts.
        context.connection.execute(
            "INSERT INTO pending_sessions "
            f"FROM ({query(PENDING_SESSIONS)}) ANTI JOIN pending_sessions USING (session_id)"
        )


def _open_parts(context: BuildContext) -> set[str]:
    """The parts by submission that may have pending sessions.

    A fulfilled or failed purchase stays so. An expired one is pending again only if it was submitted again; the part of
    that submission is not current in purchases yet.
    """
    inputs = purchases.inputs_by_part(context)
    taken_in = {part for part in inputs if context.is_current(PURCHASES, part, inputs[part])}
    return (inputs.keys() - taken_in) | (taken_in & {*purchases.parts_with_pending(context)})
