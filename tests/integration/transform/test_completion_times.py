"""The law that polling learns from a data directory, against the same read row by row."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from pipeline import steps
from pipeline.polling import run as run_module
from pipeline.polling.completion_law import CompletionLaw, band
from pipeline.schema.staging import PURCHASES, SESSION_DAY_POLLS
from pipeline.schema.table import Table
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.errors import StoreError
from pipeline.transform import completion_times
from pipeline.transform.completion_times import learned_law
from tests.support.workspace import drop, refresh

pytestmark = pytest.mark.one_python

FIRST_DAY = datetime(2026, 3, 1, tzinfo=UTC)
AGES = (0.0, 0.5, 30.0, 400.0, 650.0, 3_000.0, 90_000.0, 1e6)


class History:
    """Purchases of several days, and what each is known to have been."""

    def __init__(self, rng: random.Random, days: int, a_day: int) -> None:
        self.expected: list[Counter[tuple[int, int | None]]] = []
        self.purchases: list[list[dict[str, object]]] = []
        self.polls: list[dict[str, object]] = []
        for day in range(days):
            self.expected.append(Counter())
            self.purchases.append([])
            for i in range(a_day):
                self._add(rng, FIRST_DAY + timedelta(days=day, seconds=rng.uniform(0, 80_000)), f"{day}-{i}")

    def _add(self, rng: random.Random, submitted_at: datetime, session_id: str) -> None:
        initiated_at = rng.choice((None, submitted_at - timedelta(seconds=rng.uniform(-5, 900))))
        started_at = initiated_at or submitted_at
        completed = rng.lognormvariate(6.0, 1.0)
        pending = rng.choice((None, completed * rng.random()))
        status = rng.choice(("fulfilled", "failed", "pending", "expired"))
        resolved = completed * rng.uniform(1.0, 1.5) if status in ("fulfilled", "failed") else None
        last_pending_at = None if pending is None else started_at + timedelta(seconds=pending)
        resolved_at = None if resolved is None else started_at + timedelta(seconds=resolved)
        self.purchases[-1].append(
            {
                "session_id": session_id,
                "status": status,
                "initiated_at": initiated_at,
                "submitted_at": submitted_at,
                "submitted_date": submitted_at.date(),
                "first_polled_at": submitted_at,
                "resolved_at": resolved_at,
            }
        )
        poll = {"first_polled_at": submitted_at, "last_polled_at": submitted_at, "last_pending_at": last_pending_at}
        self.polls.append({"session_id": session_id, **poll})
        first = band(0.0 if pending is None else pending)
        self.expected[-1][first, None if resolved is None else band(resolved)] += 1

    def write(self, data: DataDirectory) -> None:
        for day, rows in enumerate(self.purchases):
            data.store.write(PURCHASES, part(day), batches(PURCHASES, rows))
        data.store.write(SESSION_DAY_POLLS, part(len(self.purchases)), batches(SESSION_DAY_POLLS, self.polls))

    def law(self, days: slice) -> CompletionLaw:
        counts = sum(self.expected[days], Counter())
        return CompletionLaw.learned((first, last, count) for (first, last), count in counts.items())


def part(day: int) -> str:
    return (FIRST_DAY + timedelta(days=day)).date().isoformat()


def batches(table: Table, rows: list[dict[str, object]]) -> Iterator[pa.RecordBatch]:
    """The rows, with something in each column that may not be empty."""
    fillers = {
        "poll_count": 2,
        "source_file": "a.txt",
        "may_have_late_answer": False,
        "has_reply": True,
        "lost_count": 0,
    }
    complete = [{**fillers, **row} for row in rows]
    columns = [pa.array([row.get(f.name) for row in complete], f.type) for f in table.arrow_schema]
    yield pa.record_batch(columns, schema=table.arrow_schema)


def chances(law: CompletionLaw) -> list[float]:
    return [law.chance(0.0, age) for age in AGES]


@pytest.fixture
def data(tmp_path):
    return DataDirectory(tmp_path / "history")


@pytest.mark.parametrize("seed", range(4))
def test_the_law_is_that_of_the_latest_days_read_row_by_row(seed, data):
    history = History(random.Random(seed), days=11, a_day=200)
    history.write(data)
    assert chances(learned_law(data)) == pytest.approx(chances(history.law(slice(-8, None))), abs=1e-9)
    assert chances(learned_law(data)) != pytest.approx(chances(history.law(slice(None))), abs=1e-9)


def test_an_empty_directory_gives_the_assumed_law(data):
    assert chances(learned_law(data)) == chances(CompletionLaw.assumed())


def test_of_many_purchases_a_sample_gives_nearly_the_same_law(data, monkeypatch):
    history = History(random.Random(5), days=2, a_day=5_000)
    history.write(data)
    whole = learned_law(data)
    learned_of = []
    learned = CompletionLaw.learned
    monkeypatch.setattr(completion_times, "_SAMPLE", 2_000)

    def noted(rows: list[tuple[int, int | None, int]]) -> CompletionLaw:
        learned_of.append(sum(n for *_, n in rows))
        return learned(rows)

    monkeypatch.setattr(CompletionLaw, "learned", noted)
    sampled = learned_law(data)
    assert 1_000 < learned_of[0] < 3_000
    assert chances(sampled) == pytest.approx(chances(whole), abs=0.05)
    assert chances(sampled) != chances(whole)


@pytest.mark.parametrize("table", [PURCHASES, SESSION_DAY_POLLS], ids=lambda table: table.name)
def test_a_damaged_table_leaves_the_assumed_law_and_does_not_stop_polling(table, data):
    History(random.Random(6), days=2, a_day=100).write(data)
    (path, *_) = data.store.parts(table)[max(data.store.parts(table))]
    os.truncate(path, 100)
    assert chances(learned_law(data)) == chances(CompletionLaw.assumed())


def test_a_disk_that_refuses_is_told(data, monkeypatch):
    History(random.Random(7), days=1, a_day=10).write(data)

    def refuse(*_):
        raise StoreError("no room")

    monkeypatch.setattr(completion_times, "connect", refuse)
    with pytest.raises(StoreError, match="no room"):
        learned_law(data)


def test_a_run_polls_by_the_law_that_its_tables_taught_and_learns_none_when_nothing_is_pending(api, monkeypatch):
    api(Simulator(delay_scale=0, hold=0))
    workspace = Workspace.open()
    drop(workspace, "a.txt", "".join(f"s{i}\n" for i in range(20)))
    learned = []
    passed: list[CompletionLaw] = []
    poll = run_module.poll

    def noted_law(data: DataDirectory) -> CompletionLaw:
        learned.append(learned_law(data))
        return learned[-1]

    def noted_poll(*given: Any) -> Any:
        passed.extend(each for each in given if isinstance(each, CompletionLaw))
        return poll(*given)

    monkeypatch.setattr(steps, "learned_law", noted_law)
    monkeypatch.setattr(run_module, "poll", noted_poll)
    refresh(workspace)
    drop(workspace, "b.txt", "another\n")
    refresh(workspace)
    refresh(workspace)
    assert passed == learned
    assert len(passed) == 2
    assert learned[1].chance(0.0, 1.0) > learned[0].chance(0.0, 1.0)
