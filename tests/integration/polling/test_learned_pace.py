"""What a run learns from 429s: the engine with the virtual API, on the virtual clock."""

from __future__ import annotations

import os
import random
from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

import pytest

from pipeline.polling.endpoint import BUY_STATUS
from pipeline.polling.engine import MICROSECONDS, Engine, Limits
from pipeline.polling.pending import PendingSessions
from pipeline.polling.schedule import Schedule
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.simulator.limiters import AtRandom, Changing, ClockSecond, Rate, Shared, SlidingWindow, TokenBucket
from pipeline.simulator.virtual_api import Asked, Conduct, Fate, VirtualApi
from pipeline.simulator.virtual_time import VirtualTimeLoop
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.raw_log import ResponseLog
from tests.support.journals import kill
from tests.support.request_rates import most_in_a_second

pytestmark = pytest.mark.one_python

LIMIT = 40
MINUTE = 60.0
SEEDS = range(3)
LIMITERS: dict[str, Callable[[], Rate]] = {
    "sliding window": lambda: SlidingWindow(LIMIT, counts_refused=True),
    "clock second": lambda: ClockSecond(LIMIT),
    "token bucket": lambda: TokenBucket(LIMIT, burst=10),
}


@pytest.fixture(autouse=True)
def _disk_that_takes_no_time(monkeypatch):
    """The disk's time is the one thing here that is not virtual, and nothing is read back from it."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def run(folder: Path, conduct: Conduct, ceiling: float, seed: int, sessions: int = 4_000) -> list[Asked]:
    """What a run asks in a minute of an API for which all sessions are final."""
    rng = random.Random(seed)
    loop = VirtualTimeLoop()
    loop.advance(rng.random())
    ids = [f"session-{i}" for i in range(sessions)]
    api = VirtualApi(dict.fromkeys(ids, Fate(0.0)), conduct, rng)
    log = ResponseLog(DataDirectory(folder), STATUS_RESPONSES, datetime.now(UTC))
    limits = Limits(160, ceiling, MINUTE, 2.0)
    engine = Engine(
        BUY_STATUS, api.ask, log, limits, "virtual", lambda: round(loop.time() * MICROSECONDS), lambda _: None
    )
    loop.run_until_complete(engine.run(Schedule(PendingSessions.of(iter(ids), 0.0), limits.poll_interval, rng)))
    loop.close()
    kill(log)
    return api.requests


def accepted_per_second(requests: list[Asked], end: float, start: float = 0.0) -> float:
    """By seconds since the first request."""
    first = min(asked.asked_at for asked in requests)
    return sum(start <= asked.asked_at - first < end and not asked.is_refused for asked in requests) / (end - start)


def refused_share(requests: list[Asked], end: float, start: float) -> float:
    first = min(asked.asked_at for asked in requests)
    seen = [asked.is_refused for asked in requests if start <= asked.asked_at - first < end]
    return sum(seen) / len(seen)


@pytest.mark.parametrize("ceiling", [0, 60])
@pytest.mark.parametrize("retry_after", [1.0, None])
@pytest.mark.parametrize(
    ("limiter", "worst"), [("sliding window", 0.93), ("clock second", 0.85), ("token bucket", 0.9)]
)
def test_a_run_gets_nearly_all_that_a_limiter_gives(limiter, worst, retry_after, ceiling, tmp_path):
    """On average: when in a clock's second a run begins, and how full a bucket is, decides how soon it knows."""
    shares = []
    for seed in range(5):
        conduct = Conduct(limiter=LIMITERS[limiter](), retry_after=retry_after)
        requests = run(tmp_path / str(seed), conduct, ceiling, seed)
        shares.append(accepted_per_second(requests, MINUTE) / LIMIT)
        assert sum(asked.is_refused for asked in requests) <= 0.03 * len(requests)
        if ceiling:
            assert most_in_a_second(asked.asked_at for asked in requests) <= ceiling
        assert is_silent_after_refusals_of_all(requests, retry_after or 1.0)
    assert min(shares) >= worst
    assert fmean(shares) >= 0.93


def answered_at(asked: Asked) -> float:
    """Of a request to a server that answers all."""
    assert asked.answered_at is not None
    return asked.answered_at


def is_silent_after_refusals_of_all(requests: list[Asked], seconds: float) -> bool:
    """Whether nothing was asked for so long after each refusal since whose sending nothing was accepted."""
    sent = sorted(asked.asked_at for asked in requests)
    accepted = sorted((answered_at(asked), asked.asked_at) for asked in requests if not asked.is_refused)
    for refused in (asked for asked in requests if asked.is_refused):
        until = answered_at(refused) + seconds
        after = bisect_right(sent, answered_at(refused))
        if after < len(sent) and sent[after] < until:
            known = [at for answered, at in accepted if answered <= sent[after]]
            if max(known, default=0.0) <= refused.asked_at:
                return False
    return True


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("ceiling", [0, 100])
@pytest.mark.parametrize("retry_after", [1.0, None])
@pytest.mark.parametrize("limiter", ["sliding window", "token bucket"])
def test_a_limit_that_falls_and_rises_is_found_within_a_quarter_of_a_minute(
    limiter, retry_after, ceiling, seed, tmp_path
):
    changing = Changing(LIMITERS[limiter](), [(20.0, 10), (40.0, 80)])
    requests = run(tmp_path, Conduct(limiter=changing, retry_after=retry_after), ceiling, seed)
    for changed_at, limit in ((0.0, LIMIT), (20.0, 10), (40.0, 80)):
        found = accepted_per_second(requests, changed_at + 20.0, changed_at + 15.0)
        assert found >= 0.7 * limit, changed_at
        assert refused_share(requests, changed_at + 20.0, changed_at + 15.0) <= 0.2


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("retry_after", [1.0, None])
@pytest.mark.parametrize("limiter", ["sliding window", "token bucket"])
def test_the_half_that_another_client_takes_is_found_and_so_is_its_return(limiter, retry_after, seed, tmp_path):
    shared = Shared(LIMITERS[limiter](), rate=LIMIT / 2, start=20.0, end=40.0)
    requests = run(tmp_path, Conduct(limiter=shared, retry_after=retry_after), 0, seed)
    for changed_at, limit in ((0.0, LIMIT), (20.0, LIMIT / 2), (40.0, LIMIT)):
        found = accepted_per_second(requests, changed_at + 20.0, changed_at + 15.0)
        assert found >= 0.7 * limit, changed_at
        assert refused_share(requests, changed_at + 20.0, changed_at + 15.0) <= 0.2


def speed_of(folder: Path, latency: tuple[float, float], ceiling: float, refused: float, seed: int) -> float:
    """Requests in a second of a run of which such a share is refused at random."""
    conduct = Conduct(latency=latency, limiter=AtRandom(refused, random.Random(seed)))
    requests = run(folder, conduct, ceiling, seed, sessions=12_000)
    return 12_000 / (max(answered_at(request) for request in requests) - requests[0].asked_at)


@pytest.mark.parametrize("ceiling", [0, 5_000])
@pytest.mark.parametrize("latency", [(0.02, 0.2), (0.001, 0.05), (0.05, 0.05)])
def test_429s_at_random_leave_a_run_most_of_its_speed(latency, ceiling, tmp_path):
    undisturbed = speed_of(tmp_path / "undisturbed", latency, ceiling, 0.0, seed=0)
    for seed in SEEDS:
        assert speed_of(tmp_path / str(seed), latency, ceiling, 0.01, seed) >= undisturbed / 3, seed


def test_a_session_that_is_refused_alone_waits_alone(tmp_path):
    conduct = Conduct(limiter=AtRandom(0.01, random.Random(1)), retry_after=30.0)
    requests = run(tmp_path, conduct, 50, seed=1)
    assert accepted_per_second(requests, MINUTE) >= 43
    asked_again: dict[str, Asked] = {}
    for request in sorted(requests, key=lambda request: request.asked_at):
        earlier = asked_again.get(request.session_id)
        assert earlier is None or request.asked_at >= answered_at(earlier) + 30.0
        asked_again[request.session_id] = request
    assert sum(request.is_refused for request in requests) > 10
