"""Rate limiters of APIs, for the HTTP simulator and for `virtual_api`.

Each is called once per request, in the order of arrival, with the time in seconds of one monotonic clock.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from typing import Protocol


class Limiter(Protocol):
    """Decides which requests are served; the others get a 429."""

    def admits(self, now: float, /) -> bool:
        """Whether the request that arrives now is served."""


class Rate(Limiter, Protocol):
    """A limiter whose `limit`, in requests per second, may change while it runs."""

    limit: float


class Unlimited:
    """Serves all requests."""

    def admits(self, _now: float, /) -> bool:
        return True


class SlidingWindow:
    """Serves `limit` requests in any one second. With `counts_refused`, refused requests count, too."""

    def __init__(self, limit: float, counts_refused: bool = False) -> None:
        self.limit = limit
        self._counts_refused = counts_refused
        self._counted: deque[float] = deque()

    def admits(self, now: float, /) -> bool:
        while self._counted and self._counted[0] <= now - 1.0:
            self._counted.popleft()
        is_served = len(self._counted) < self.limit
        if is_served or self._counts_refused:
            self._counted.append(now)
        return is_served


class ClockSecond:
    """Serves the first `limit` requests of each second of a clock that is `offset` seconds ahead."""

    def __init__(self, limit: float, offset: float = 0.0) -> None:
        self.limit = limit
        self._offset = offset
        self._second = -1
        self._served = 0

    def admits(self, now: float, /) -> bool:
        second = int(now + self._offset)
        if second != self._second:
            self._second, self._served = second, 0
        self._served += 1
        return self._served <= self.limit


class TokenBucket:
    """Serves `limit` requests a second on average, and `burst` at once after a pause."""

    def __init__(self, limit: float, burst: float) -> None:
        self.limit = limit
        self._burst = self._tokens = burst
        self._filled_at = 0.0

    def admits(self, now: float, /) -> bool:
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self.limit)
        self._filled_at = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class AtRandom:
    """Refuses a share of all requests at any rate, like limits per user or per session."""

    def __init__(self, share: float, rng: random.Random) -> None:
        self._share = share
        self._rng = rng

    def admits(self, _now: float, /) -> bool:
        return self._rng.random() >= self._share


class Changing:
    """A limiter whose limit changes: `changes` are pairs of a time, in order, and the limit from then on."""

    def __init__(self, limiter: Rate, changes: Sequence[tuple[float, float]]) -> None:
        self._limiter = limiter
        self._changes = deque(changes)

    def admits(self, now: float, /) -> bool:
        while self._changes and self._changes[0][0] <= now:
            self._limiter.limit = self._changes.popleft()[1]
        return self._limiter.admits(now)


class Shared:
    """A limiter shared with another client, which sends `rate` requests per second from `start` until `end`."""

    def __init__(self, limiter: Limiter, rate: float, start: float, end: float) -> None:
        self._limiter = limiter
        self._gap = 1.0 / rate
        self._next = start
        self._end = end

    def admits(self, now: float, /) -> bool:
        while self._next <= min(now, self._end):
            self._limiter.admits(self._next)
            self._next += self._gap
        return self._limiter.admits(now)
