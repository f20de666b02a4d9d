"""How fast a server was asked."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable


def most_in_a_second(times: Iterable[float]) -> int:
    """The most requests that any second holds, wherever it begins; the times are in seconds."""
    times = sorted(times)
    return max(bisect_left(times, start + 1.0) - i for i, start in enumerate(times))
