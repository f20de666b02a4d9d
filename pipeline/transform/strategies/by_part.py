"""Tables that are cut by time. Each part is derived from the same part of the sources, or each day from its parts."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.schema import TABLES
from pipeline.schema.staging import PURCHASES
from pipeline.schema.table import Partition, Strategy, Table, Zone
from pipeline.storage.day_parts import day_of, minutes_of
from pipeline.storage.manifest import digest
from pipeline.transform.build_report import BuildReport
from pipeline.transform.context import BuildContext
from pipeline.transform.strategies import purchases


def build(context: BuildContext, report: BuildReport) -> None:
    """Rebuilds the parts whose sources have changed. Purchases are joined by time of resolution."""
    table = report.table
    joins_purchases = table.partition is Partition.OBSERVED and PURCHASES.name in table.sources
    sources = [TABLES[name] for name in table.sources]
    by_part = [source for source in sources if source.partition is table.partition]
    whole = [source for source in sources if source.partition is Partition.NONE]
    states = [context.state_of_parts(source) for source in by_part]
    states_of_whole = [context.state(source) for source in whole]
    context.name(whole)
    derived, ahead = context.derivations.of(table), context.days_ahead(table)
    wanted = _parts(context, table)
    for part, of_sources in sorted(wanted.items()):
        upstream = [{name: state.get(name, "") for name in of_sources} for state in states] + states_of_whole
        if joins_purchases:
            upstream.append({part: context.manifest.state(PURCHASES).out_of_date.get(part, "")})
        inputs = digest(derived, upstream, *ahead)
        if context.is_current(table, part, inputs):
            report.unchanged_count += 1
            continue
        for source in by_part:
            context.verify(source, of_sources)
        context.name(by_part, of_sources)
        if joins_purchases:
            context.name([PURCHASES], purchases.parts_resolved_in(context, part))
        context.connection.execute("SET VARIABLE part_start = $start", {"start": minutes_of(part)[0]})
        context.write(report, part, inputs, context.rows(table))
    context.remove_other_parts(report, set(wanted))


def raw_sources(table: Table) -> set[str]:
    """The names of the raw tables whose parts are the table's: those behind its sources of the same partition."""
    found: set[str] = set()
    for source in (TABLES[name] for name in table.sources):
        if source.partition is table.partition:
            found |= {source.name} if source.zone is Zone.RAW else raw_sources(source)
    return found


def _parts(context: BuildContext, table: Table) -> dict[str, list[str]]:
    """The table's parts, each with those of its sources. Days of several raw tables are cut in different ways."""
    raw = sorted({part for name in raw_sources(table) for part in context.parts(TABLES[name])})
    if table.strategy is Strategy.BY_PART:
        return {part: [part] for part in raw}
    return _by_day(raw)


def _by_day(parts: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for part in parts:
        found.setdefault(day_of(part), []).append(part)
    return found
