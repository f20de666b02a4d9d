"""How fast the whole run may ask: a strict ceiling, and slowing down when the API says 429.

The ceiling is a sliding window over the times at which requests were really let go, so that no
one-second window ever holds more than it allows; within the window they are spread evenly.
Slowing follows additive increase, multiplicative decrease, the rule by which TCP shares a line
(Chiu and Jain, 1989): halve at a 429, then add a twentieth of the former rate each second.
"""

from __future__ import annotations

from collections import deque

_WINDOW = 1.08  # seconds; the excess over one keeps the ceiling when delays on the way bunch requests up
_CATCH_UP = 0.02  # seconds of lateness that may be made up for by going faster
_DECREASE = 0.5
_STEPS_TO_RECOVER = 20.0  # seconds from standstill to the former rate
_DEFAULT_PAUSE = 1.0  # seconds of silence after a 429 that names none
_UNLIMITED = float("inf")


class Pace:
    """Says when the next request may go. Times are seconds of one monotonic clock.

    `ceiling` is in requests per second; 0 means none, until a 429 teaches a rate.
    """

    def __init__(self, ceiling: float) -> None:
        self._ceiling = ceiling or _UNLIMITED
        self._rate = self._ceiling
        self._step = 0.0
        self._adjusted_at = 0.0
        self._recovered_at = 0.0
        self._blocked_until = 0.0
        self._slot = 0.0
        self._recent: deque[float] = deque()
        self._window = _WINDOW if self._ceiling >= 1 else _WINDOW / self._ceiling

    def wait(self, now: float) -> float:
        """Seconds until a request may go; 0 when one may go now."""
        self._recover(now)
        ready = max(self._blocked_until, self._slot)
        while self._recent and self._recent[0] <= now - self._window:
            self._recent.popleft()
        if self._ceiling < _UNLIMITED and len(self._recent) >= max(1, int(self._ceiling)):
            ready = max(ready, self._recent[0] + self._window)
        return max(0.0, ready - now)

    def sent(self, now: float) -> None:
        """A request goes now."""
        self._recent.append(now)
        if self._rate < _UNLIMITED:
            self._slot = max(self._slot, now - _CATCH_UP) + 1.0 / self._rate

    def too_many(self, asked_at: float, now: float, retry_after: float | None) -> None:
        """The API answered 429 to a request sent at `asked_at`; the whole run pauses and slows.

        Requests that were under way when the run last slowed say nothing about its new rate.
        """
        self._blocked_until = max(self._blocked_until, now + (_DEFAULT_PAUSE if retry_after is None else retry_after))
        if self._rate < _UNLIMITED and asked_at < self._adjusted_at:
            return
        former = self._rate if self._rate < _UNLIMITED else max(1.0, len(self._recent) / self._window)
        self._rate = max(former * _DECREASE, min(0.1, self._ceiling))
        self._step = (former if self._ceiling == _UNLIMITED else self._ceiling) / _STEPS_TO_RECOVER
        self._adjusted_at = self._recovered_at = now

    def _recover(self, now: float) -> None:
        if self._rate < self._ceiling and self._step:
            since = max(self._recovered_at, self._blocked_until)
            if now > since:
                self._rate = min(self._ceiling, self._rate + self._step * (now - since))
                self._recovered_at = now
