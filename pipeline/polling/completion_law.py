"""The distribution of the times in which purchases become final. The schedule derives probabilities from it.

The distribution is a hazard for each band of ages. Bands are quarters of an octave of age + 1 s, from 0 to two years,
and so cover seconds as well as days.

**Prior.** Without data, the probability that a purchase is still pending at an age is (1 + age/s)^-½, a simple
distribution with a long tail: its hazard falls as 1/age.

**Learning.** Completion times are interval-censored: a pending answer is a lower bound of the time, a final answer an
upper bound; a pending purchase has no upper bound. The maximum likelihood estimate comes from expectation maximization
(Turnbull, "The empirical distribution function with arbitrarily grouped, censored and truncated data", 1976; Dempster,
Laird and Rubin, 1977). Each round spreads every completion over the bands of its interval in proportion to the current
distribution; the new probability of a band is its completions over the purchases that reached it. The prior has the
weight of ten purchases per band, as in a beta distribution: few data change little, and bands without data keep the
prior.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

BANDS_PER_OCTAVE = 4
_BANDS = 26 * BANDS_PER_OCTAVE
_EDGES = 2.0 ** (np.arange(_BANDS + 1) / BANDS_PER_OCTAVE) - 1.0  # seconds
_PRIOR_PURCHASES = 10.0
_ROUNDS = 200
_CONVERGED = 1e-4  # the largest change of a probability at which the rounds end

_EDGES_LIST: list[float] = _EDGES.tolist()  # a list, because single items are read faster than from an array

Floats = npt.NDArray[np.float64]


def band(age: float) -> int:
    """The band of an age in seconds; the number of bands for one beyond them."""
    return bisect_right(_EDGES_LIST, age) - 1 if age > 0.0 else 0


class CompletionLaw:
    """The distribution, from the probability of each band that a purchase pending at its start becomes final in it."""

    def __init__(self, chances: Floats) -> None:
        by_band = -np.log1p(-np.minimum(chances, 1.0 - 1e-12))
        self._hazards: list[float] = (by_band / np.diff(_EDGES)).tolist()
        self._cumulative: list[float] = np.concatenate(([0.0], np.cumsum(by_band))).tolist()

    @classmethod
    def assumed(cls) -> CompletionLaw:
        """The prior."""
        return cls(_assumed_chances())

    @classmethod
    def learned(cls, intervals: Iterable[tuple[int, int | None, int]]) -> CompletionLaw:
        """The distribution estimated from intervals of completion: first band, last band, number of purchases.

        The last band is None for purchases whose latest answer, in the first band, was pending.
        """
        rows = [(first, _BANDS if last is None else last, count) for first, last, count in intervals]
        return cls(_most_likely(np.array(rows, dtype=np.int64).reshape(-1, 3)))

    def chance(self, age_when_pending: float, age: float) -> float:
        """The probability that a purchase pending at the first age, in seconds, is final at the second."""
        return -math.expm1(self._cumulated(age_when_pending) - self._cumulated(age))

    def chances(self, ages_when_pending: Floats, ages: Floats) -> Floats:
        """The same for many purchases."""
        before, until = (np.interp(a, _EDGES, self._cumulative) for a in (ages_when_pending, ages))
        return np.asarray(-np.expm1(before - until))

    def _cumulated(self, age: float) -> float:
        """The integral of the hazard, which is constant within a band."""
        if age <= 0.0:
            return 0.0
        index = band(age)
        if index >= _BANDS:
            return self._cumulative[-1]
        return self._cumulative[index] + self._hazards[index] * (age - _EDGES_LIST[index])


def _assumed_chances() -> Floats:
    pending = (1.0 + _EDGES) ** -0.5
    return np.asarray(1.0 - pending[1:] / pending[:-1])


def _most_likely(rows: npt.NDArray[np.int64]) -> Floats:
    """The probability of each band by expectation maximization over rows of (first band, last band, purchases)."""
    bands = np.arange(_BANDS)
    first, last, counts = rows[:, :1], rows[:, 1:2], rows[:, 2].astype(float)
    is_final = rows[:, 1] < _BANDS
    within = ((first <= bands) & (bands <= last))[is_final].astype(float)
    # The band of the last pending answer is only partly observed, so the purchase counts for the earlier bands only.
    outlived = counts[~is_final] @ (bands < first[~is_final])
    assumed = _assumed_chances()
    chances = assumed
    for _ in range(_ROUNDS):
        shares = chances * np.cumprod(np.concatenate(([1.0], 1.0 - chances[:-1])))
        completed = shares * ((counts[is_final] / (within @ shares)) @ within)
        reached = completed[::-1].cumsum()[::-1] + outlived
        former, chances = chances, (completed + _PRIOR_PURCHASES * assumed) / (reached + _PRIOR_PURCHASES)
        if np.max(np.abs(chances - former)) < _CONVERGED:
            break
    return chances
