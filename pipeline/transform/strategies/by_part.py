"""Tables that are cut by time.

Each part is derived from the same part of the sources, each day from its parts, or each of two periods from its days.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import NamedTuple

from pipeline.schema import TABLES
from pipeline.schema.staging import PURCHASES
from pipeline.schema.table import Partition, Strategy, Table, Zone
from pipeline.storage.day_parts import day_of, minutes_of
from pipeline.storage.manifest import inputs_of
from pipeline.transform.build_report import BuildReport
from pipeline.transform.context import BuildContext
from pipeline.transform.strategies import purchases

# Longer than sessions are polled by default, since closed months are expensive to derive and should seldom change.
CLOSED_AFTER = timedelta(days=14)


class Inputs(NamedTuple):
    """What a part is derived from: the parts of its sources, and the fingerprint of their content and of the rules."""

    of_sources: list[str]
    fingerprint: str


def build(context: BuildContext, report: BuildReport) -> None:
    """Rebuilds the parts whose sources have changed. Purchases are joined by time of resolution."""
    table = report.table
    context.name(TABLES[name] for name in table.sources if TABLES[name].partition is Partition.NONE)
    wanted = inputs_by_part(context, table)
    for part, (of_sources, inputs) in wanted.items():
        if context.is_current(table, part, inputs):
            report.unchanged_count += 1
        elif not context.adopt(report, part, inputs):
            choose_part(context, table, part, of_sources)
            context.write(report, part, inputs, context.rows(table))
    context.remove_other_parts(report, set(wanted))


def inputs_by_part(context: BuildContext, table: Table) -> dict[str, Inputs]:
    """The inputs of each part of a table, in the order of time."""
    sources = [TABLES[name] for name in table.sources]
    states = [context.state_of_parts(source) for source in sources if source.partition is table.partition]
    states_of_whole = [context.state(source) for source in sources if source.partition is Partition.NONE]
    derived, ahead = context.derivations.of(table), context.days_ahead(table)
    found = {}
    for part, of_sources in sorted(_parts(context, table).items()):
        upstream = [{name: state.get(name, "") for name in of_sources} for state in states] + states_of_whole
        if _joins_purchases(table):
            upstream.append({part: context.manifest.state(PURCHASES).out_of_date.get(part, "")})
        found[part] = Inputs(of_sources, inputs_of(derived, upstream, *ahead))
    return found


def choose_part(context: BuildContext, table: Table, part: str, of_sources: list[str]) -> None:
    """Verifies and names the sources of one part, so that `context.rows` derives it. Raises DamagedFileError."""
    by_part = [TABLES[name] for name in table.sources if TABLES[name].partition is table.partition]
    for source in by_part:
        context.verify(source, of_sources)
    context.name(by_part, of_sources)
    if _joins_purchases(table):
        context.name([PURCHASES], purchases.parts_resolved_in(context, part))
    context.connection.execute("SET VARIABLE part_start = $start", {"start": minutes_of(part)[0]})


def _joins_purchases(table: Table) -> bool:
    return table.partition is Partition.OBSERVED and PURCHASES.name in table.sources


def raw_sources(table: Table) -> set[str]:
    """The names of the raw tables whose parts are the table's: those behind its sources of the same partition."""
    found: set[str] = set()
    for source in (TABLES[name] for name in table.sources):
        if source.partition is table.partition:
            found |= {source.name} if source.zone is Zone.RAW else raw_sources(source)
    return found


def _parts(context: BuildContext, table: Table) -> dict[str, list[str]]:
    """The table's parts, each with those of its sources. Days of several raw tables are cut in different ways."""
    if table.strategy is Strategy.BY_PERIOD:
        (source,) = (TABLES[name] for name in table.sources)
        return by_period(_parts(context, source))
    raw = sorted({part for name in raw_sources(table) for part in context.parts(TABLES[name])})
    if table.strategy is Strategy.BY_PART:
        return {part: [part] for part in raw}
    return _by_day(raw)


def _by_day(parts: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for part in parts:
        found.setdefault(day_of(part), []).append(part)
    return found


def by_period(parts: Iterable[str]) -> dict[str, list[str]]:
    """The parts of closed months together, and the later ones, each of both under its first day.

    A month is closed when it ended more than `CLOSED_AFTER` before the latest day.
    """
    ordered = sorted(parts)
    if not ordered:
        return {}
    since = (date.fromisoformat(day_of(ordered[-1])) - CLOSED_AFTER).replace(day=1).isoformat()
    periods = [part for part in ordered if part < since], [part for part in ordered if part >= since]
    return {day_of(period[0]): period for period in periods if period}
