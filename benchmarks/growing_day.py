"""Cost of a run on a day that already holds few or many sessions.

The held sessions came in runs every quarter of an hour until eleven o'clock, each session with a fulfilled answer. The
measured run brings the same number of new sessions and their answers, and updates, checks and publishes all tables. Its
polling is left out: it costs the same on each day. The baseline is the day with the fewest sessions.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from benchmarks.payloads import MIXES, Mix
from benchmarks.tables import FIRST_DAY, TEMPLATES, add_sessions, fresh
from pipeline.publish.warehouse import publish
from pipeline.quality.checker import Checker, checks_of
from pipeline.schema import PUBLISHED
from pipeline.schema.raw import PENDING_SESSIONS
from pipeline.schema.staging import PULLS
from pipeline.storage.data_directory import DataDirectory
from pipeline.transform.builder import Builder

RUNS = 92  # every quarter of an hour until 23:00
USERS = 200_000
NEW_RUN = FIRST_DAY + timedelta(hours=23, minutes=15)
AFTERWARDS = FIRST_DAY + timedelta(hours=23, minutes=50)


class Cost(NamedTuple):
    """Seconds for the tables, the checks and publishing, and the parts of pulls."""

    built: float
    checked: float
    published: float
    parts: int

    @property
    def total(self) -> float:
        return self.built + self.checked + self.published


def add_run(data: DataDirectory, name: str, sessions: int, start: datetime, mix: Mix) -> None:
    """Adds the raw objects of one run: sessions of ten minutes, and an answer to each after 26 seconds."""
    sql = f"""
        SELECT '{name}-' || range AS session_id, range AS i, hash('{name}', range) % {TEMPLATES} AS k,
            TIMESTAMPTZ '{start.isoformat()}' + to_microseconds((range * 600_000_000 // {sessions})::BIGINT) AS moment,
            moment - INTERVAL 10 SECOND AS initiated_at, moment + INTERVAL 20 SECOND AS requested_at,
            moment + INTERVAL 26 SECOND AS received_at, 'u' || hash(session_id) % {USERS} AS user_id
        FROM range({sessions})
    """
    add_sessions(data, start, name, name, sql, mix)


def run(data: DataDirectory) -> Cost:
    """Updates, checks and publishes all tables."""
    checked = 0.0
    started = time.perf_counter()
    with data.exclusive():
        with (
            Checker(data, lambda: AFTERWARDS) as checker,
            Builder(data, AFTERWARDS, expire_after=0) as builder,
        ):
            builder.build(PENDING_SESSIONS)
            for table in PUBLISHED:
                builder.build(table)
                before = time.perf_counter()
                checker.findings(checks_of(table))
                checked += time.perf_counter() - before
        built = time.perf_counter()
        publish(data)
    parts = len(data.store.parts(PULLS))
    return Cost(built - started - checked, checked, time.perf_counter() - built, parts)


def measured(folder: Path, held: int, new: int, mix: Mix) -> Cost:
    """The cost of a run with so many new sessions on a day that holds so many."""
    data = fresh(folder)
    for number in range(RUNS):
        sessions = held * (number + 1) // RUNS - held * number // RUNS
        add_run(data, f"held-{number:02}", sessions, FIRST_DAY + timedelta(minutes=15 * number), mix)
    run(data)
    add_run(data, "new", new, NEW_RUN, mix)
    return run(data)


def growth(folder: Path, held: list[int], new: int, mixes: list[str]) -> Table:
    """A table of the costs by mix of answers and sessions held, and their ratio to those of the fewest sessions."""
    table = Table(title=f"A run with {new:,} new sessions, by the sessions that the day holds")
    for heading in ("mix", "sessions", "parts", "tables s", "checks s", "publish s", "ratio", "ratio without checks"):
        table.add_column(heading, justify="left" if heading == "mix" else "right")
    # The first run of a process is slower, and would make the baseline look dear.
    measured(folder / "warm-up", held[0], new, MIXES[mixes[0]])
    for name in mixes:
        costs = {count: measured(folder / f"{name}-{count}", count, new, MIXES[name]) for count in held}
        first = costs[held[0]]
        for count, cost in costs.items():
            seconds = (f"{value:.1f}" for value in (cost.built, cost.checked, cost.published))
            unchecked = (cost.total - cost.checked) / (first.total - first.checked)
            figures = (f"{cost.parts}", *seconds, f"{cost.total / first.total:.2f}", f"{unchecked:.2f}")
            table.add_row(name, f"{count:,}", *figures)
    return table
