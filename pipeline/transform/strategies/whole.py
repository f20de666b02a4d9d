"""Tables of one part, derived from everything that their sources hold."""

from __future__ import annotations

from pipeline.schema import TABLES
from pipeline.storage.connection import stream
from pipeline.transform.build_report import BuildReport
from pipeline.transform.comparison import is_same
from pipeline.transform.context import BuildContext
from pipeline.transform.queries import query


def build(context: BuildContext, report: BuildReport) -> None:
    """Derives the table again if a source changed."""
    table = report.table
    inputs = context.inputs_of_whole(table)
    if context.is_current(table, table.name, inputs):
        report.unchanged_count += 1
        return
    _name_sources(context, report)
    context.write(report, table.name, inputs, stream(context.connection, query(table)))


def build_if_different(context: BuildContext, report: BuildReport) -> None:
    """The same, but keeps the version of a small table whose rows are the same, for the sake of what reads it."""
    table = report.table
    inputs = context.inputs_of_whole(table)
    if context.is_current(table, table.name, inputs):
        report.unchanged_count += 1
        return
    _name_sources(context, report)
    is_comparable = context.exists(table, table.name) and not report.is_rederived
    if is_comparable and is_same(context.connection, query(table), f"FROM {context.store.scan(table)}"):
        context.manifest.confirmed(table, table.name, inputs)
        report.unchanged_count += 1
    else:
        context.write(report, table.name, inputs, stream(context.connection, query(table)))


def _name_sources(context: BuildContext, report: BuildReport) -> None:
    sources = [TABLES[name] for name in report.table.sources]
    for source in sources:
        context.inspection.verify(source)
    context.name(sources)
