"""The law of completion times against what optimization and plain counting find on random data."""

from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit

from pipeline.polling.completion_law import BANDS_PER_OCTAVE, CompletionLaw, band

PRIOR = 10.0


def edge(number: int) -> float:
    """Seconds at which a band begins."""
    return float(2.0 ** (number / BANDS_PER_OCTAVE)) - 1.0


def chances(law: CompletionLaw, count: int) -> np.ndarray:
    """For each of the first bands: the chance to complete in it, for those pending at its begin."""
    return np.array([law.chance(edge(i), edge(i + 1)) for i in range(count)])


def random_intervals(rng: random.Random, count: int, bands: int) -> list[tuple[int, int | None, int]]:
    found: Counter[tuple[int, int | None]] = Counter()
    for _ in range(count):
        first = rng.randrange(bands)
        found[first, None if rng.random() < 0.3 else rng.randrange(first, bands)] += 1
    return [(first, last, purchases) for (first, last), purchases in found.items()]


def log_posterior(q: np.ndarray, intervals: list[tuple[int, int | None, int]], assumed: np.ndarray) -> float:
    """Up to a constant: the likelihood of the intervals times a beta distribution for each band."""
    pending = np.concatenate(([1.0], np.cumprod(1.0 - q)))
    terms = (n * math.log(pending[a] - (0.0 if b is None else pending[b + 1])) for a, b, n in intervals)
    return sum(terms) + PRIOR * float(np.sum(assumed * np.log(q) + (1.0 - assumed) * np.log1p(-q)))


@pytest.mark.parametrize("seed", range(5))
def test_no_law_is_more_likely_than_the_learned_one(seed):
    bands = 12
    intervals = random_intervals(random.Random(seed), 2_000, bands)
    assumed = chances(CompletionLaw.assumed(), bands)
    learned = chances(CompletionLaw.learned(intervals), bands)
    best = minimize(lambda x: -log_posterior(expit(x), intervals, assumed), logit(assumed), method="BFGS")
    found = log_posterior(learned, intervals, assumed)
    assert found == pytest.approx(-best.fun, abs=0.1)
    assert found > log_posterior(assumed, intervals, assumed) + 10
    assert learned == pytest.approx(expit(best.x), abs=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_where_each_band_is_known_the_law_counts_the_completed_over_those_that_reached_it(seed):
    rng = np.random.default_rng(seed)
    completed, last_pending = rng.integers(0, 40, 3_000), rng.integers(0, 60, 3_000)
    is_final = completed <= last_pending
    intervals: list[tuple[int, int | None, int]]
    intervals = [(int(c), int(c), 1) for c in completed[is_final]]
    intervals += [(int(p), None, 1) for p in last_pending[~is_final]]
    assumed = chances(CompletionLaw.assumed(), 60)
    for i, (got, prior) in enumerate(zip(chances(CompletionLaw.learned(intervals), 60), assumed, strict=True)):
        here = np.sum(is_final & (completed == i))
        reached = np.sum(is_final & (completed >= i)) + np.sum(~is_final & (last_pending > i))
        assert got == pytest.approx((here + PRIOR * prior) / (reached + PRIOR), rel=1e-6)


def test_without_data_the_chance_to_be_pending_still_is_the_inverse_root_of_the_age():
    law = CompletionLaw.learned([])
    for age in (0.0, 0.4, 3.0, 90.0, 86_400.0, 604_800.0):
        assert law.chance(0.0, age) == pytest.approx(1.0 - (1.0 + age) ** -0.5, abs=0.01)


def test_a_few_purchases_change_the_law_little_and_many_make_it_theirs():
    at_ten_minutes = band(600.0)
    few, many = (CompletionLaw.learned([(at_ten_minutes, at_ten_minutes, n)]) for n in (1, 10_000))
    assert few.chance(0.0, 300.0) == pytest.approx(CompletionLaw.assumed().chance(0.0, 300.0), abs=0.1)
    assert many.chance(0.0, 300.0) < 0.05
    assert many.chance(0.0, 900.0) > 0.95


def test_completions_noticed_hours_late_say_nothing_of_when_in_these_hours_they_came():
    law = CompletionLaw.learned([(0, band(12 * 3_600.0), 10_000)])
    assert law.chance(0.0, 60.0) > CompletionLaw.assumed().chance(0.0, 60.0) - 0.01


def test_the_law_of_many_sessions_at_once_is_that_of_each():
    law = CompletionLaw.learned(random_intervals(random.Random(1), 500, 60))
    rng = np.random.default_rng(2)
    before = np.concatenate(([0.0, 5.0, 1e9], rng.uniform(0, 1e6, 500)))
    ages = before + np.concatenate(([0.0, 1e-3, 1e9], rng.exponential(1e4, 500)))
    expected = [law.chance(a, b) for a, b in zip(before, ages, strict=True)]
    assert law.chances(before, ages) == pytest.approx(expected, abs=1e-12)


def test_a_chance_is_none_at_once_and_grows_with_the_wait():
    law = CompletionLaw.learned(random_intervals(random.Random(3), 5_000, 80))
    found = [law.chance(7.0, age) for age in (7.0, 7.5, 8.0, 30.0, 1e4, 1e9, 1e12)]
    assert found[0] == 0.0
    assert found == sorted(found)
    assert law.chance(-math.inf, 5.0) == law.chance(0.0, 5.0)


def test_ages_beyond_all_bands_are_those_of_the_last():
    law = CompletionLaw.learned([(band(1e12), band(1e12), 5), (band(1e12), None, 5)])
    assert 0.0 <= law.chance(0.0, 1e12) <= 1.0
    assert law.chance(1e12, 1e13) == 0.0
