"""The request rate of the whole run: a strict ceiling, and below it the API's limit as learned from 429s.

**The ceiling** is a sliding window over the times at which requests were really let go, so that no one-second
window ever holds more than it allows; within the window they are spread evenly.

**Start.** Without a ceiling nothing is known, and a first second could send thousands. So few requests are in
flight at first, and twice as many every quarter of a second: TCP's slow start (Jacobson, "Congestion avoidance
and control", 1988), by time rather than by answers, because answers for pending sessions are held for seconds.

**Evidence.** A 429 pauses the whole run for its `Retry-After`, at least a second, until a request that was sent
after the refused one is accepted: a limiter would have refused that one too, so the refusal concerned one
session, which alone waits. Refusals that come faster than such acceptances outweigh them are a limiter's all
the same. The test is a cumulative sum (Page, "Continuous inspection schemes", 1954): a refusal adds one, an
acceptance takes a twentieth away, and at four the pause stands. 1 % of refusals at random never get there, in
practice; a limiter that is exceeded by a tenth does within two seconds. A pause may also pass with nothing under way
that could end it. Then the refusal is a limiter's if as much was accepted before it as the pace or the estimate
allows, or as before the last such pause; otherwise the estimate explains nothing, and is forgotten.

**Limit.** What was accepted in the second before the last refusal is the estimate (where TCP's CUBIC remembers
its window at the last loss, RFC 9438). It is taken when the pause ends, because by then the requests that were
under way are answered. After it:

- The run holds just below the estimate. A refusal that does not pause the run takes another 2 % off the rate.
- A first estimate from less than a second of asking may be a token bucket's burst rather than its rate. It is
  trusted only if nothing was accepted between the refusals for so long that a bucket would have let some through;
  otherwise the run probes at once.
- A pause while the run held means that the estimate was too high: what was accepted then is the new one, and at
  least a tenth is taken off if the estimate lasted a second only, which is what a limiter that counts by the
  clock's seconds does to an estimate that straddles two of them; less, the longer it lasted.
- A probe raises the rate as CUBIC does in its convex phase, slowly at first and then ever faster, and only while
  the pace is what holds the run back (compare RFC 7661). A probe that fails near the estimate confirms it. It costs
  about a second, so the first probe comes after a minute, and each that fails doubles the time to the next.
- Where the limit has fallen below one that held for seconds, it is likely to come back, and more is lost by
  missing that. Then a probe comes every six seconds; each that fails lets the former limit fade by a tenth.

`benchmarks/polling.py` measures all this beside additive increase, multiplicative decrease.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right

_WINDOW = 1.08  # seconds; the excess over one keeps the ceiling when delays on the way bunch requests up
_CATCH_UP = 0.02  # seconds of lateness that may be made up for by going faster
_UNLIMITED = math.inf

_START = 6  # requests in flight at first, without a ceiling
_START_DOUBLES = 0.25  # seconds
_START_LASTS = 4.0  # seconds, in which they become more than any run has

_PAUSE = 1.0  # seconds; the shortest pause of the run, and the window in which limiters are taken to count
_FORGIVEN = 0.05  # refusals that one acceptance makes good
_ENOUGH = 4.0  # refusals, not made good, that are a limiter's
_PACED = 0.8  # share of the rate that a run reaches where its pace is what holds it back

_JUST_BELOW = 0.98
_STRAY = 0.98  # what the rate is multiplied by at a refusal that does not pause the run, once a second
_TOO_HIGH = 0.1  # seconds; divided by how long an estimate lasted: the share that is taken off
_SAME = (0.9, 1.2)  # an estimate of a failed probe within these shares of the former one confirms it
_BLOCKED_FOR = 1.0  # requests that would have been accepted, at the estimate, while none was

_PROBE_AFTER = 60.0  # seconds, doubled by each probe that fails
_PROBE_AFTER_AT_MOST = 480.0
_PROBE_AFTER_A_FALL = 6.0
_FALLEN = 0.75  # share of a former limit below which the limit has fallen
_HELD = 5.0  # seconds after which a limit is one that held
_FADES = 0.9
_PROBE = 0.05  # share of the held rate by which a probe begins
_GROWTH = 1.4  # by e to the power of this, the excess of a probe grows in a second
_DOUBT = 0.4  # seconds; divided by how long a doubtful estimate took: the share by which its probe begins

_KEPT = 5.0  # seconds for which the times of requests are kept
_TRIM_AT = 4096


class Pace:
    """Decides when the next request may be sent. Times are seconds of one monotonic clock.

    `ceiling` is in requests per second; 0 means none. Call `sent` for each request, and at its end
    `accepted`, `refused` or `lost`.
    """

    def __init__(self, ceiling: float) -> None:
        self._ceiling = ceiling
        self._allowed = max(1, int(ceiling))
        self._window = _WINDOW if ceiling >= 1 or not ceiling else _WINDOW / ceiling
        self._limit = Limit(ceiling or _UNLIMITED)
        self._sent: list[float] = []
        self._trim_at = _TRIM_AT
        self._slot = -math.inf
        self._in_flight = 0
        self._resumed_at = -math.inf
        self._paused_until = -math.inf
        self._is_paused = False
        self._is_limiter = False
        self._refused: list[float] = []
        self._suspicion = 0.0
        self._unexplained = 0
        self._last_refused = -math.inf
        self._last_accepted = -math.inf

    def wait(self, now: float) -> float:
        """Seconds until a request may go; 0 when one may go now."""
        if self._is_paused:
            if now < self._paused_until:
                return self._paused_until - now
            self._resume(now)
        ready = self._slot
        if self._limit.rate == _UNLIMITED:
            ready = self._started_up(now)
        elif self._ceiling and len(self._sent) >= self._allowed:
            ready = max(ready, self._sent[-self._allowed] + self._window)
        return max(0.0, ready - now)

    def sent(self, now: float) -> None:
        """A request goes now."""
        if not self._sent:
            self._resumed_at = now
        self._sent.append(now)
        self._in_flight += 1
        if len(self._sent) >= self._trim_at:
            del self._sent[: min(bisect_left(self._sent, now - _KEPT), len(self._sent) - self._allowed)]
            self._trim_at = max(_TRIM_AT, 2 * len(self._sent))
        if self._limit.rate < _UNLIMITED:
            is_paced = now <= self._slot + _CATCH_UP
            self._slot = max(self._slot, now - _CATCH_UP) + 1.0 / self._limit.rate
            if is_paced:
                self._limit.used(now)

    def accepted(self, asked_at: float) -> bool:
        """A request sent at `asked_at` was answered, and not by 429. Returns whether that ended a pause."""
        was_paused = self._is_paused
        self._in_flight -= 1
        if asked_at > self._last_accepted:
            self._last_accepted = asked_at
        if (self._suspicion or self._is_paused) and not self._is_limiter:
            if asked_at > self._last_refused:
                self._is_paused = False
            self._suspicion = max(0.0, self._suspicion - _FORGIVEN)
            if not self._suspicion and not self._is_paused:
                self._refused.clear()
        return was_paused and not self._is_paused

    def refused(self, asked_at: float, now: float, retry_after: float | None) -> None:
        """A request sent at `asked_at` was answered 429 now; `retry_after` is in seconds, None where it has none."""
        self._in_flight -= 1
        self._refused.append(asked_at)
        self._last_refused = max(self._last_refused, asked_at)
        self._suspicion += 1.0
        self._is_limiter = self._is_limiter or self._suspicion >= _ENOUGH
        if self._is_limiter or asked_at >= self._last_accepted:
            until = now + max(retry_after or 0.0, _PAUSE)
            self._paused_until = max(self._paused_until, until) if self._is_paused else until
            self._is_paused = True
        if not self._is_limiter:
            self._limit.strayed(now)

    def lost(self) -> None:
        """A request got no answer."""
        self._in_flight -= 1

    def _started_up(self, now: float) -> float:
        """When the start allows one more in flight, where it does not now."""
        if not self._sent or now >= self._resumed_at + _START_LASTS:
            return now
        if self._in_flight < _START * 2.0 ** ((now - self._resumed_at) / _START_DOUBLES):
            return now
        return self._resumed_at + _START_DOUBLES * math.log2((self._in_flight + 1) / _START)

    def _resume(self, now: float) -> None:
        """The pause is over, and what was refused is understood."""
        first, last = min(self._refused), max(self._refused)
        lasted = first - self._resumed_at
        accepted = self._accepted_between(last - _PAUSE, last)
        if self._is_limiter or self._agrees(accepted, lasted):
            between = self._accepted_between(first, last)
            self._limit.learn(now, accepted, lasted, between, accepted * (last - first))
        else:
            self._limit.forget(now)
        self._unexplained = accepted
        self._resumed_at = now
        self._slot = now
        self._is_paused = self._is_limiter = False
        self._suspicion = 0.0
        self._refused.clear()

    def _agrees(self, accepted: int, lasted: float) -> bool:
        """Whether a pause that nothing ended early is explained by a limit, going by what was accepted before it."""
        if self._limit.estimate == _UNLIMITED:
            return accepted >= _PACED * self._limit.held * min(_PAUSE, lasted)
        is_repeated = _PACED * self._unexplained <= accepted <= self._unexplained / _PACED
        return accepted >= _PACED * self._limit.estimate or is_repeated

    def _accepted_between(self, after: float, until: float) -> int:
        """How many of the requests sent then were not refused."""
        count = bisect_right(self._sent, until) - bisect_right(self._sent, after)
        return count - sum(after < at <= until for at in self._refused)


class Limit:
    """What a run has learned about the API's limit, and the rate that follows, both in requests per second."""

    def __init__(self, ceiling: float) -> None:
        self.rate = ceiling
        self._ceiling = ceiling
        self.estimate = _UNLIMITED
        self._learned_at = 0.0
        self._held_before = 0.0
        self.held = ceiling
        self._probe_at = _UNLIMITED
        self._probe_after = _PROBE_AFTER
        self._first_excess = _PROBE
        self._is_probing = False
        self._is_doubtful = False
        self._strayed_at = -math.inf

    def used(self, now: float) -> None:
        """A request was sent as soon as the rate allowed it. During a probe each one raises the rate."""
        if now >= self._probe_at and self.rate < self._ceiling:
            self._is_probing = True
            excess = self.rate - self.held + self._first_excess * self.held
            self.rate = min(self._ceiling, self.rate + excess * _GROWTH / self.rate)

    def strayed(self, now: float) -> None:
        """A request was refused, without evidence that the limit is reached."""
        if self.estimate < _UNLIMITED and not self._is_probing and now >= self._strayed_at + 1.0:
            self._strayed_at = now
            self.rate = self.held = self.rate * _STRAY

    def learn(self, now: float, accepted: int, lasted: float, between: int, expected: float) -> None:
        """A limiter paused the run until now.

        `accepted` requests were, in the second before its last refusal; the first refusal came `lasted` seconds after
        the run was last resumed. Between the two `between` requests were accepted, of the `expected` at the same rate.
        """
        former, was_doubtful = self.estimate, self._is_doubtful
        lets_through = between >= expected / 2
        self._remember(now)
        self._is_doubtful = former == _UNLIMITED and lasted < _PAUSE and (lets_through or expected < _BLOCKED_FOR)
        if former == _UNLIMITED:
            self.estimate = max(1.0, accepted)
        elif not self._is_probing:
            self.estimate = max(former / 2, min(accepted, former * (1.0 - _TOO_HIGH / max(_PAUSE, lasted))))
        elif was_doubtful and lets_through and between:
            self.estimate = max(former, accepted)
        elif not _SAME[0] * former <= accepted <= _SAME[1] * former:
            self.estimate = max(former / 2, accepted)
        elif not was_doubtful:
            self._probe_after = min(_PROBE_AFTER_AT_MOST, 2 * self._probe_after)
            self._held_before *= _FADES
        self._hold(now, lasted)

    def forget(self, now: float) -> None:
        """Refusals that agree neither with the estimate nor with each other are no limit's."""
        self._remember(now)
        self.estimate = _UNLIMITED
        self.rate = self.held = self._ceiling
        self._probe_at = _UNLIMITED
        self._is_probing = self._is_doubtful = False

    def _remember(self, now: float) -> None:
        if self.estimate < _UNLIMITED and now - self._learned_at >= _HELD:
            self._held_before = max(self._held_before, self.estimate)

    def _hold(self, now: float, lasted: float) -> None:
        self._learned_at = now
        self._is_probing = False
        self.rate = self.held = min(self._ceiling, _JUST_BELOW * self.estimate)
        if self._is_doubtful:
            self._probe_at = now
            self._first_excess = min(1.0, max(_PROBE, _DOUBT / max(lasted, _CATCH_UP)))
            return
        self._first_excess = _PROBE
        has_fallen = self.estimate < _FALLEN * self._held_before
        self._probe_at = now + (_PROBE_AFTER_A_FALL if has_fallen else self._probe_after)
