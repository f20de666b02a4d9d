"""Intervals by numpy, to compare the SQL with."""

from __future__ import annotations

import numpy as np
from scipy import stats


def clustered_wilson(y: np.ndarray, m: np.ndarray, z: float = 1.959963984540054) -> tuple[float, float]:
    """The interval of a share from sessions, as the reference formula has it."""
    n, pulls, hits = len(y), m.sum(), y.sum()
    if n < 2:
        return 0, 1
    p = hits / pulls
    rarer = min(hits, pulls - hits)
    expected = pulls * p * (1 - p)
    likeness = ((y - p * m) ** 2).sum() * n / (n - 1) / expected if expected else 1
    design = max(1, (rarer * likeness + (m**2).sum() / pulls) / (rarer + 1))
    t = stats.t.isf(stats.norm.sf(z), n - 1)
    hits, pulls = hits / design, pulls / design
    centre = (hits + t**2 / 2) / (pulls + t**2)
    half = t / (pulls + t**2) * np.sqrt(hits * (pulls - hits) / pulls + t**2 / 4)
    return centre - half, centre + half
