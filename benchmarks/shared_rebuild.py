"""A rebuild of many days by one process and by several, on one machine.

Each rebuilds all tables of the same raw data, without publishing. The baseline is one process, measured in the same
run. Seconds depend on what else the machine does; compare the processor seconds of the run that holds the lock, which
is what the others save it, and those of the others, which is what it costs them.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import rich.table

from benchmarks.tables import FIRST_DAY, add_day
from pipeline.schema import PUBLISHED, TABLES
from pipeline.schema.raw import PENDING_SESSIONS
from pipeline.schema.table import Table, Zone
from pipeline.storage.data_directory import DataDirectory
from pipeline.transform.build_report import BuildReport
from pipeline.transform.builder import Builder
from pipeline.transform.shared_rebuild import PREBUILT


class Cost(NamedTuple):
    """Seconds, processor seconds of the run and of the other processes, and the share of parts that it adopted."""

    seconds: float
    own: float
    others: float
    adopted: float


def rebuilt(data: DataDirectory, days: int, processes: int) -> Cost:
    """Rebuilds all tables by so many processes."""
    started, before, others = time.perf_counter(), time.process_time(), _of_children()
    moment = FIRST_DAY + timedelta(days=days)
    with data.exclusive(), Builder(data, moment, expire_after=0, processes=processes) as builder:
        builder.forget_all()
        reports: dict[str, BuildReport] = {}
        for table in (PENDING_SESSIONS, *PUBLISHED):
            _build(builder, table, reports)
    adopted = sum(report.adopted_count for report in reports.values())
    own, of_others = time.process_time() - before, _of_children() - others
    return Cost(time.perf_counter() - started, own, of_others, adopted / (len(PREBUILT) * days))


def _build(builder: Builder, table: Table, reports: dict[str, BuildReport]) -> None:
    """Builds a table after its sources, in the order in which the builder itself does."""
    for source in (TABLES[name] for name in table.sources):
        if source.zone is Zone.STAGING and source.name not in reports:
            _build(builder, source, reports)
    reports[table.name] = builder.build(table)


def _of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def by_processes(folder: Path, days: int, sessions: int, processes: Sequence[int]) -> rich.table.Table:
    """A table of the costs by number of processes, and their ratios to those of the first number."""
    os.environ |= {"PHYGITALS_ENV": "local", "PHYGITALS_DATA_DIR": str(folder), "PHYGITALS_EXPIRE_AFTER": "0"}
    data = DataDirectory(folder)
    data.claim("local", "the bundled simulator")
    for day in range(days):
        add_day(data, day, sessions)
    title = f"A rebuild of {days} days with {sessions:,} sessions each, by processes on one machine"
    table = rich.table.Table(title=title)
    for heading in ("processes", "seconds", "ratio", "run's CPU s", "ratio", "others' CPU s", "parts adopted"):
        table.add_column(heading, justify="right")
    costs = {count: rebuilt(data, days, count) for count in processes}
    first = costs[processes[0]]
    for count, cost in costs.items():
        table.add_row(
            *(f"{count}", f"{cost.seconds:.0f}", f"{cost.seconds / first.seconds:.2f}"),
            *(f"{cost.own:.0f}", f"{cost.own / first.own:.2f}", f"{cost.others:.0f}", f"{cost.adopted:.0%}"),
        )
    return table
