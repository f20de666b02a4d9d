"""How soon completions are noticed, against the best possible, on the virtual clock: the benchmark, made small."""

from __future__ import annotations

import os
import random
import statistics

import pytest

from benchmarks import detection
from benchmarks.detection import (
    ExponentialBackoff,
    FixedInterval,
    Limit,
    Polled,
    Purchase,
    best_possible,
    late,
    long_tailed,
    mean_lag,
    poll,
)
from pipeline.polling.completion_law import CompletionLaw
from pipeline.polling.schedule import Schedule

pytestmark = pytest.mark.one_python

ASSUMED = CompletionLaw.assumed()
SEEDS = (11, 12)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(detection, "SESSIONS", 500)
    monkeypatch.setattr(detection, "BUDGET", 300.0)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # the disk's time is the one thing here that is not virtual


def lag(chosen: list[Purchase], polled: Polled) -> float:
    return mean_lag(chosen, polled.noticed)


def compared(limit: Limit, draw, policy=Schedule, law=ASSUMED) -> tuple[float, float, float]:
    """Mean lag in seconds, the same of the best possible, and requests a session."""
    drawn = [draw(random.Random(seed)) for seed in SEEDS]
    runs = [poll(policy, chosen, limit, seed, law) for seed, chosen in zip(SEEDS, drawn, strict=True)]
    best = statistics.fmean(lag(chosen, best_possible(chosen, limit)) for chosen in drawn)
    requests = sum(run.requests for run in runs) / sum(len(chosen) for chosen in drawn)
    return statistics.fmean(lag(chosen, run) for chosen, run in zip(drawn, runs, strict=True)), best, requests


# Of 500 sessions the demand is 44 requests a second where calls are answered at once, and 13 where they are held.
@pytest.mark.parametrize(("ceiling", "of_best"), [(5, 1.45), (22, 1.75), (89, 2.9)])
def test_where_calls_are_answered_at_once_the_lag_stays_near_the_best_for_few_requests(ceiling, of_best):
    limit = Limit(ceiling, 6 * ceiling, 0.0)
    ours, best, requests = compared(limit, long_tailed)
    backoff, _, requests_of_backoff = compared(limit, long_tailed, ExponentialBackoff)
    assert ours <= of_best * best
    assert ours < 0.85 * backoff
    assert requests < 2.0 * requests_of_backoff


@pytest.mark.parametrize(("ceiling", "of_best"), [(2, 1.3), (7, 1.3), (26, 1.35)])
def test_where_calls_are_held_the_lag_is_little_above_the_best_possible(ceiling, of_best):
    ours, best, _ = compared(Limit(ceiling, round(6.4 * ceiling), 6.0), long_tailed)
    assert ours <= of_best * best


def test_where_requests_in_flight_are_scarcer_than_the_ceiling_those_likely_to_be_final_get_them():
    limit = Limit(10, 10, 6.0)
    ours, best, _ = compared(limit, long_tailed)
    fixed, *_ = compared(limit, long_tailed, FixedInterval)
    assert ours <= 0.65 * fixed


@pytest.mark.parametrize("limit", [Limit(3, 20, 0.0), Limit(3, 20, 6.0), Limit(10, 5, 6.0)])
def test_where_purchases_complete_late_the_learned_law_notices_them_sooner_than_the_assumed(limit):
    taught = poll(Schedule, late(random.Random(13)), limit, 13, ASSUMED).law
    assumed, *_ = compared(limit, late)
    learned, *_ = compared(limit, late, law=taught)
    assert learned <= 0.9 * assumed
