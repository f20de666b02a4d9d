"""Polling on a virtual clock: days with faults, ceilings, kills and restarts, each repeatable from its seed."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from pipeline.polling.engine import Limits
from pipeline.polling.progress import Exit
from pipeline.simulator.limiters import AtRandom, ClockSecond, Limiter, SlidingWindow, TokenBucket, Unlimited
from pipeline.simulator.virtual_api import Conduct, Fate
from pipeline.simulator.virtual_time import DeadlockError, VirtualTimeLoop
from pipeline.storage.data_directory import DataDirectory
from tests.support.simulated_life import Life

pytestmark = pytest.mark.one_python

SEEDS = range(60)
HOUR, DAY = 3_600.0, 86_400.0


def life(folder: Path, rng: random.Random, count: int, never_share: float = 0.02, median: float = 8.0) -> Life:
    """Sessions of all ages whose completion times have a long tail; a few fail, a few are never final."""
    ids = [f"session-{i}" for i in range(count)]
    fates = {}
    for session_id in ids:
        at = float("inf") if rng.random() < never_share else median * rng.lognormvariate(0.0, 2.0)
        fates[session_id] = Fate(at, is_failed=rng.random() < 0.1)
    return Life(DataDirectory(folder), fates, {i: rng.choice((0.0, 60.0, HOUR, DAY)) for i in ids}, rng)


def some_conduct(rng: random.Random) -> Conduct:
    return Conduct(
        latency=(0.001, rng.choice((0.01, 0.5, 5.0))),
        hold=rng.choice((0.0, 0.0, 2.0, 6.0)),
        broken_share=rng.choice((0.0, 0.05, 0.5)),
        dropped_share=rng.choice((0.0, 0.05, 0.3)),
        malformed_share=rng.choice((0.0, 0.05)),
        limiter=some_limiter(rng),
        retry_after=rng.choice((None, 0.0, 1.0, 30.0)),
    )


def some_limiter(rng: random.Random) -> Limiter:
    limit = rng.choice((1, 5, 50))
    some = (SlidingWindow(limit, rng.random() < 0.5), ClockSecond(limit), TokenBucket(limit, 10), AtRandom(0.1, rng))
    return rng.choice((Unlimited(), Unlimited(), *some))


def some_limits(rng: random.Random) -> Limits:
    return Limits(
        max_concurrency=rng.choice((1, 10, 100, 1_000)),
        rate_ceiling=rng.choice((0.0, 0.5, 3.0, 25.0, 400.0)),
        poll_budget=rng.choice((5.0, 60.0, 900.0)),
        poll_interval=rng.choice((0.5, 2.0, 10.0)),
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_nothing_is_lost_doubled_changed_or_asked_too_often(seed, tmp_path):
    rng = random.Random(seed)
    subject = life(tmp_path, rng, count=rng.choice((1, 30, 300)))
    for _ in range(rng.randint(1, 5)):
        limits = some_limits(rng)
        kill_after = rng.uniform(0.0, limits.poll_budget) if rng.random() < 0.6 else None
        subject.run(some_conduct(rng), limits, kill_after)
        subject.recover()
        subject.check()


def test_the_same_seed_gives_the_same_day(tmp_path):
    days = []
    for name in ("first", "second"):
        rng = random.Random(5)
        subject = life(tmp_path / name, rng, count=200)
        subject.run(some_conduct(rng), Limits(50, 25.0, 600.0, 2.0))
        days.append(subject.raw())
    assert days[0] == days[1]
    assert len(days[0]) > 200


def test_a_run_without_faults_ends_when_every_session_is_final(tmp_path):
    subject = life(tmp_path, random.Random(1), count=300, never_share=0.0)
    progress = subject.run(Conduct(), Limits(100, 0.0, 10 * DAY, 2.0))
    assert progress is not None
    assert progress.exit is Exit.ALL_FINAL
    assert (progress.pending, subject.pending()) == (0, set())


def test_a_run_ends_with_its_budget_when_a_session_is_never_final(tmp_path):
    subject = life(tmp_path, random.Random(1), count=10, never_share=1.0)
    progress = subject.run(Conduct(), Limits(100, 0.0, HOUR, 2.0))
    assert progress is not None
    assert progress.exit is Exit.BUDGET_USED
    assert progress.pending == 10
    assert HOUR - 75 <= progress.seconds <= HOUR + 1


@pytest.mark.parametrize(("in_flight", "seconds_a_request"), [(100, 7.235 / 3), (1, 6.11)])
def test_sessions_whose_calls_are_held_are_asked_all_the_time_as_far_as_there_is_room(
    in_flight, seconds_a_request, tmp_path
):
    subject = life(tmp_path, random.Random(1), count=3, never_share=1.0)
    progress = subject.run(Conduct(hold=6.0), Limits(in_flight, 0.0, HOUR, 2.0))
    assert progress is not None
    # A call takes its time on the way and the hold, and the pause after it is 1.125 seconds in the mean.
    assert progress.requests == pytest.approx(HOUR / seconds_a_request, rel=0.02)


@pytest.mark.timeout(900)  # minutes on a busy machine; a deadlock of the engine ends it at once
def test_a_day_with_a_backlog_of_an_hour_and_faults_leaves_all_as_it_should_be(tmp_path, monkeypatch):
    # The ceiling lets through 28,800 requests in an hour, and each of the 8,000 sessions takes several.
    # The disk's time is the one thing here that is not virtual, and no power fails in this day.
    monkeypatch.setattr(os, "fsync", lambda _: None)
    subject = life(tmp_path, random.Random(20_26), count=8_000, never_share=0.001)
    conduct = Conduct(hold=6.0, broken_share=0.01, dropped_share=0.01, malformed_share=0.002, limiter=SlidingWindow(20))
    progress = subject.run(conduct, Limits(130, 8.0, DAY, 2.0))
    assert progress is not None
    assert progress.exit is Exit.BUDGET_USED
    assert 0 < progress.pending < 50
    subject.check()


def test_the_virtual_clock_says_when_nothing_would_ever_happen():
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner, pytest.raises(DeadlockError):
        runner.run(asyncio.Event().wait())
