"""When each session is asked next: a queue by due time, with backoff and jitter."""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass

MAX_INTERVAL = 60.0
_GROWTH = 1.5
_JITTER = 0.25


@dataclass(order=True, slots=True)
class Due:
    """A session and the time at which it may be asked; ties go to the one that has waited longest."""

    at: float
    order: int
    session_id: str
    attempts: int = 0


class Schedule:
    """The sessions that wait to be asked. Times are seconds of one monotonic clock."""

    def __init__(self, interval: float, rng: random.Random) -> None:
        self._interval = interval
        self._rng = rng
        self._heap: list[Due] = []
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, session_id: str, now: float) -> None:
        """A session that may be asked at once."""
        heapq.heappush(self._heap, Due(now, next(self._order), session_id))

    @property
    def next_at(self) -> float:
        """When the first session is due; infinity when none waits."""
        return self._heap[0].at if self._heap else float("inf")

    def pop(self) -> Due:
        return heapq.heappop(self._heap)

    def again(self, due: Due, now: float, at_least: float = 0.0) -> None:
        """Asks the session again after its backoff, and not before `at_least` seconds have passed.

        The interval grows by half each time up to a minute; jitter only lengthens it, so that no
        session is asked sooner than the interval says.
        """
        delay = min(MAX_INTERVAL, self._interval * _GROWTH ** min(due.attempts, 64))
        delay = min(MAX_INTERVAL, delay * self._rng.uniform(1.0, 1.0 + _JITTER))
        due.attempts += 1
        due.at = now + max(delay, at_least)
        due.order = next(self._order)
        heapq.heappush(self._heap, due)
