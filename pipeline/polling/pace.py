"""The request rate of the whole run: a strict ceiling, and below it an estimate of the API's limit from 429s.

**Ceiling.** A sliding window over the actual times of requests keeps every one-second window within the ceiling. Within
the window, requests are spread evenly.

**Start.** Without a ceiling the first second could send thousands of requests. Therefore few requests are in flight at
first, and twice as many every quarter of a second, as in TCP's slow start (Jacobson, "Congestion avoidance and
control", 1988). The growth is by time instead of answers, because answers for pending sessions are held for seconds.

**Evidence.** A 429 pauses the whole run for its `Retry-After`, at least a second. The pause ends early if a request
sent after the refused one is accepted: a limiter would have refused it too, so the refusal concerned one session, which
alone waits. Frequent refusals indicate a limiter despite such acceptances. The test is a cumulative sum (Page,
"Continuous inspection schemes", 1954): a refusal adds one, an acceptance subtracts a twentieth, and at four the pause
stays. A random refusal rate of 1 % practically never reaches four; a limiter exceeded by a tenth does within two
seconds. If a pause passes without a request in flight that could end it, the refusal counts as a limiter's if the
accepted requests before it match the pace, the estimate, or those before the last such pause. Otherwise the estimate is
discarded.

**Limit.** The estimate is the number of requests accepted in the second before the last refusal (as TCP's CUBIC
remembers its window at the last loss, RFC 9438). It is computed at the end of the pause, when the requests in flight
are answered. Then:

- The run holds just below the estimate. A refusal that does not pause the run lowers the rate by another 2 %.
- A first estimate from less than a second of requests may be the burst of a token bucket instead of its rate. It is
  trusted only if no request was accepted between the refusals for so long that a bucket would have let some through;
  otherwise the run probes at once.
- A pause while the run holds means that the estimate was too high. The number accepted then is the new estimate. If the
  old one lasted only a second, at least a tenth is subtracted, since a limiter that counts by clock seconds inflates an
  estimate that straddles two of them; the longer it lasted, the less is subtracted.
- A probe raises the rate as in CUBIC's convex phase, slowly at first, then faster, and only while the pace is what
  limits the run (compare RFC 7661). A probe that fails near the estimate confirms it. It costs about a second, so the
  first probe comes after a minute, and each failed probe doubles the time to the next.
- A limit that has fallen below one that held for seconds is likely to return. Then a probe comes every six seconds;
  each failed probe reduces the remembered limit by a tenth.

`benchmarks/polling.py` compares this with additive increase, multiplicative decrease.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right

_WINDOW = 1.08  # seconds; more than one, so that the ceiling holds when network delays bunch requests
_CATCH_UP = 0.02  # seconds of lateness that later requests may make up for
_UNLIMITED = math.inf

_START = 6  # requests in flight at first, without a ceiling
_START_DOUBLES = 0.25  # seconds
_START_LASTS = 4.0  # seconds, after which the start allows more requests in flight than any run has

_PAUSE = 1.0  # seconds; the shortest pause of the run, and the assumed window of limiters
_FORGIVEN = 0.05  # refusals offset by one acceptance
_ENOUGH = 4.0  # refusals without offset that indicate a limiter
_PACED = 0.8  # share of the rate that a run reaches if its pace limits it

_JUST_BELOW = 0.98
_STRAY = 0.98  # factor of the rate at a refusal that does not pause the run, at most once a second
_TOO_HIGH = 0.1  # seconds; divided by the duration of an estimate, the share subtracted from it
_SAME = (0.9, 1.2)  # an estimate of a failed probe within these ratios to the former one confirms it
_BLOCKED_FOR = 1.0  # requests expected at the estimate while none was accepted

_PROBE_AFTER = 60.0  # seconds, doubled by each probe that fails
_PROBE_AFTER_AT_MOST = 480.0
_PROBE_AFTER_A_FALL = 6.0
_FALLEN = 0.75  # share of a former limit below which the limit has fallen
_HELD = 5.0  # seconds after which a limit counts as one that held
_FADES = 0.9
_PROBE = 0.05  # first excess of a probe, as a share of the held rate
_GROWTH = 1.4  # per second; the excess of a probe grows exponentially at this rate
_DOUBT = 0.4  # seconds; divided by the duration of a doubtful estimate, the first excess of its probe

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
        """Seconds until the next request may be sent; 0 if it may be sent now."""
        if self._is_paused:
            if now < self._paused_until:
                return self._paused_until - now
            self._resume(now)
        ready = self._slot
        if self._limit.rate == _UNLIMITED:
            ready = self._slow_start_at(now)
        elif self._ceiling and len(self._sent) >= self._allowed:
            ready = max(ready, self._sent[-self._allowed] + self._window)
        return max(0.0, ready - now)

    def sent(self, now: float) -> None:
        """Records a request that is sent now."""
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
        """Records an answer other than 429 to a request sent at `asked_at`. Returns whether it ended a pause."""
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
        """Records a 429 to a request sent at `asked_at`; `retry_after` is in seconds, None without the header."""
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
        """Records a request without an answer."""
        self._in_flight -= 1

    def _slow_start_at(self, now: float) -> float:
        """The time at which the slow start allows one more request in flight; `now` if it does already."""
        if not self._sent or now >= self._resumed_at + _START_LASTS:
            return now
        if self._in_flight < _START * 2.0 ** ((now - self._resumed_at) / _START_DOUBLES):
            return now
        return self._resumed_at + _START_DOUBLES * math.log2((self._in_flight + 1) / _START)

    def _resume(self, now: float) -> None:
        """Ends the pause and interprets its refusals."""
        first, last = min(self._refused), max(self._refused)
        lasted = first - self._resumed_at
        accepted = self._accepted_between(last - _PAUSE, last)
        if self._is_limiter or self._is_explained(accepted, lasted):
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

    def _is_explained(self, accepted: int, lasted: float) -> bool:
        """Whether a limit explains a pause that was not ended early, given the requests accepted before it."""
        if self._limit.estimate == _UNLIMITED:
            return accepted >= _PACED * self._limit.held * min(_PAUSE, lasted)
        is_repeated = _PACED * self._unexplained <= accepted <= self._unexplained / _PACED
        return accepted >= _PACED * self._limit.estimate or is_repeated

    def _accepted_between(self, after: float, until: float) -> int:
        """The number of requests sent in that time and not refused."""
        count = bisect_right(self._sent, until) - bisect_right(self._sent, after)
        return count - sum(after < at <= until for at in self._refused)


class Limit:
    """The estimate of the API's limit and the resulting rate, both in requests per second."""

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
        """Records a request sent as soon as the rate allowed it. During a probe each one raises the rate."""
        if now >= self._probe_at and self.rate < self._ceiling:
            self._is_probing = True
            excess = self.rate - self.held + self._first_excess * self.held
            self.rate = min(self._ceiling, self.rate + excess * _GROWTH / self.rate)

    def strayed(self, now: float) -> None:
        """Records a refusal without evidence that the limit is reached."""
        if self.estimate < _UNLIMITED and not self._is_probing and now >= self._strayed_at + 1.0:
            self._strayed_at = now
            self.rate = self.held = self.rate * _STRAY

    def learn(self, now: float, accepted: int, lasted: float, between: int, expected: float) -> None:
        """Updates the estimate after a pause by a limiter that ends now.

        `accepted` is the number of requests accepted in the second before the last refusal. `lasted` is the time from
        the last resumption to the first refusal, in seconds. Between the first and the last refusal `between` requests
        were accepted; `expected` is their number at the rate of `accepted`.
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
        """Discards the estimate after refusals that agree neither with it nor with each other."""
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
