"""Tables with one part per UTC day. Each part is derived from the same day's parts of the sources."""

from __future__ import annotations

from pipeline.schema import TABLES
from pipeline.schema.staging import PURCHASES
from pipeline.schema.table import Partition, Table, Zone
from pipeline.storage.manifest import digest
from pipeline.transform.build_report import BuildReport
from pipeline.transform.context import BuildContext
from pipeline.transform.strategies import purchases


def build(context: BuildContext, report: BuildReport) -> None:
    """Rebuilds the days whose sources have changed. Purchases are joined by day of resolution."""
    table = report.table
    joins_purchases = table.partition is Partition.OBSERVED and PURCHASES.name in table.sources
    days = sorted({day for name in raw_sources(table) for day in context.raw_state(TABLES[name])})
    sources = [TABLES[name] for name in table.sources]
    by_day = [source for source in sources if source.partition is table.partition]
    whole = [source for source in sources if source.partition is Partition.NONE]
    states = [context.state(source) for source in by_day]
    states_of_whole = [context.state(source) for source in whole]
    context.name(whole)
    derived, ahead = context.derivations.of(table), context.days_ahead(table)
    for day in days:
        upstream = [{day: state.get(day, "")} for state in states] + states_of_whole
        if joins_purchases:
            upstream.append({day: context.manifest.state(PURCHASES).out_of_date.get(day, "")})
        inputs = digest(derived, upstream, *ahead)
        if context.is_current(table, day, inputs):
            report.unchanged_count += 1
            continue
        for source in by_day:
            context.inspection.verify(source, [day])
        context.name(by_day, [day])
        if joins_purchases:
            context.name([PURCHASES], purchases.days_resolved_on(context, day))
        context.write(report, day, inputs, context.rows(table))
    context.remove_other_days(report, set(days))


def raw_sources(table: Table) -> set[str]:
    """The names of the raw tables whose days are the table's: those behind its sources of the same partition."""
    found: set[str] = set()
    for source in (TABLES[name] for name in table.sources):
        if source.partition is table.partition:
            found |= {source.name} if source.zone is Zone.RAW else raw_sources(source)
    return found
