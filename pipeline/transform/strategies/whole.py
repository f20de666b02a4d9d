"""Tables with one part, derived from all parts of their sources."""

from __future__ import annotations

from pipeline.schema import TABLES
from pipeline.storage.connection import stream
from pipeline.transform.build_report import BuildReport
from pipeline.transform.comparison import is_same
from pipeline.transform.context import BuildContext
from pipeline.transform.queries import query


def build(context: BuildContext, report: BuildReport, keeps_same_rows: bool = False) -> None:
    """Rebuilds the table if a source has changed.

    With `keeps_same_rows`, a table with unchanged rows keeps its version, so that its readers are not rebuilt. For
    small tables only.
    """
    table = report.table
    inputs = context.inputs_of_whole(table)
    if context.is_current(table, table.name, inputs):
        report.unchanged_count += 1
        return
    context.name_whole(TABLES[name] for name in table.sources)
    is_comparable = keeps_same_rows and context.exists(table, table.name) and not report.is_rederived
    if is_comparable and is_same(context.connection, query(table), f"FROM {context.store.scan(table)}"):
        context.manifest.confirmed(table, table.name, inputs)
        report.unchanged_count += 1
    else:
        context.write(report, table.name, inputs, stream(context.connection, query(table)))


def build_if_different(context: BuildContext, report: BuildReport) -> None:
    """As `build`, but keeps the version of a table with unchanged rows."""
    build(context, report, keeps_same_rows=True)
