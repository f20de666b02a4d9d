"""Decides which session is polled next, and when: a queue by due time, and a priority among the due sessions.

**When.** After an immediate pending answer a session is polled again after the poll interval, then after two, three,
four intervals and so on up to a minute, lengthened by jitter. Such intervals grow with the square root of the time for
which the session has been polled. That is the rule of optimum checking (Barlow, Hunter and Proschan, "Optimum checking
procedures", 1963): for a given number of requests, the time to detection is shortest if the interval is proportional to
1/√h, where h is the hazard of completion. Completion times have long tails: h falls as 1/age, so 1/√h grows as √age.

**Held calls.** The API may hold the call of a pending session for seconds and answer at the moment of completion. A
call held for at least the poll interval and a second replaces the wait: the session may be polled again a second later,
the longest pause that the API's public page advises, and its interval does not grow. If the ceiling or the number of
requests in flight leaves no room, the session waits until its expected loss is the largest.

**Which.** If more sessions are due than may be polled, the one with the largest expected loss is next: the probability
that it is final, times the seconds that this run has let it wait. Both refer to the end of the call, because the API
watches the session while it holds the call; the expected duration is the running mean over pending answers. The
probability follows from the completion-time distribution (`completion_law`). This polls each age in proportion to √h,
and sessions that were never polled before those with a recent pending answer.

**Fairness.** Sessions are grouped by age within a factor of four. With n groups, a group that was passed over 15 n
times is served next, whatever its loss. So no backlog, old or new, keeps another group below 1/(15 n) of the ceiling.
Within a group, first requests are ordered by the probability at the start of the run and later ones by due time; the
larger loss decides between the two queues.

`benchmarks/detection.py` compares this with a fixed interval, exponential backoff and the optimum.
"""

from __future__ import annotations

import heapq
import math
import random
from array import array
from collections.abc import Iterable

import numpy as np

from pipeline.polling.completion_law import CompletionLaw
from pipeline.polling.pending import PendingSessions

MAX_INTERVAL = 60.0
PAUSE_AFTER_HOLD = 1.0  # seconds; a shorter call never counts as held, however short the interval
_JITTER = 0.25
_LEAST_BACKOFF = 1.0  # seconds after a refusal with a shorter Retry-After
_TICK = 0.01  # seconds; sessions due within one tick share a slot of the queue
_LEAST_WAIT = 1.0  # seconds; the least wait in the expected loss, so that the probability decides at the start
_AGE_FACTOR = 4.0
_PASSED_OVER = 15  # choices, times the number of ages
_HOLD_WEIGHT = 1 / 16  # weight of a new answer in the running mean of pending calls
_MOST_STEPS = 60_000  # upper bound of the count of a session's requests; far beyond the longest interval
_COMPACT_AT = 4096


class Schedule:
    """The waiting sessions of one run, by their positions in `sessions`.

    Times are seconds of one monotonic clock, except those inside `sessions`.
    """

    def __init__(
        self, sessions: PendingSessions, interval: float, rng: random.Random, law: CompletionLaw | None = None
    ) -> None:
        self.sessions = sessions
        self._interval = interval
        self._rng = rng
        self._law = law or CompletionLaw.assumed()
        self._hold = 0.0
        self._steps = array("H", [0]) * len(sessions)
        # Time of the last pending answer; `start` converts it to the monotonic clock in place, to save memory.
        self._pending_at = sessions.asked_at
        self._lanes: dict[tuple[int, bool], Lane] = {}
        self._served_at: dict[int, int] = {}
        self._ready = 0
        self._later: dict[int, array[int]] = {}
        self._ticks: list[int] = []
        self._later_count = 0
        self._choices = 0

    def start(self, now: float, wall: float) -> None:
        """Makes every session due. `wall` is the wall clock's reading, in seconds since the epoch, at `now`."""
        self._started = now
        self._to_monotonic = now - wall
        pending_at = np.frombuffer(self._pending_at)
        pending_at += self._to_monotonic
        for position in self.first_order(now):
            self._make_ready(position, now, is_first=True)

    def first_order(self, now: float) -> Iterable[int]:
        """The order of first requests among sessions of one age: by their probability to be final."""
        started_at = np.frombuffer(self.sessions.started_at) + self._to_monotonic
        ages_when_pending = np.maximum(np.frombuffer(self._pending_at) - started_at, 0.0)
        chances = self._law.chances(ages_when_pending, np.maximum(now - started_at, 0.0))
        return array("I", np.argsort(-chances, kind="stable").astype(np.uint32).tobytes())

    def __len__(self) -> int:
        """The number of waiting sessions, due or not."""
        return self._ready + self._later_count

    def session_id(self, position: int) -> str:
        return self.sessions.session_id(position)

    def next_at(self, now: float) -> float:
        """The time at which the next session is due: `now` if one is due already, infinity if none waits."""
        if self._ready:
            return now
        return self._ticks[0] * _TICK if self._ticks else math.inf

    def pop(self, now: float) -> int:
        """Removes and returns the session to poll now. One must be due."""
        self._promote(now)
        lane = self._choose(now)
        self._ready -= 1
        return lane.pop()

    def again(self, position: int, now: float, at_least: float = 0.0, pending_after: float | None = 0.0) -> None:
        """Schedules a session again after an answer at `now` that was not final: after its interval and `at_least`.

        `pending_after` is the duration of the call in seconds if the answer was pending, else None.
        Jitter only lengthens an interval, so no session is polled before its interval is over.
        """
        if pending_after is not None:
            self._pending_at[position] = now
            self._hold += _HOLD_WEIGHT * (pending_after - self._hold)
        jitter = self._rng.uniform(1.0, 1.0 + _JITTER)
        if pending_after is not None and self.has_waited(pending_after):
            delay = PAUSE_AFTER_HOLD * jitter
        else:
            delay = min(MAX_INTERVAL, self.interval(self._steps[position]) * jitter)
            self._steps[position] = min(self._steps[position] + 1, _MOST_STEPS)
        self._enqueue(position, now + max(delay, at_least))

    def refused(self, position: int, now: float, retry_after: float) -> None:
        """Schedules a session again after a refusal at `now`: after the API's `Retry-After` in seconds.

        Its poll interval does not apply, since there was no answer about the session. Each further refusal adds another
        `Retry-After`, up to the interval.
        """
        step = self._steps[position]
        self._steps[position] = min(step + 1, _MOST_STEPS)
        delay = min(self.interval(step), max(retry_after, _LEAST_BACKOFF) * (step + 1))
        delay *= self._rng.uniform(1.0, 1.0 + _JITTER)
        self._enqueue(position, now + max(min(MAX_INTERVAL, delay), retry_after))

    def _enqueue(self, position: int, due_at: float) -> None:
        tick = math.ceil(due_at / _TICK)
        if tick not in self._later:
            self._later[tick] = array("I")
            heapq.heappush(self._ticks, tick)
        self._later[tick].append(position)
        self._later_count += 1

    def interval(self, step: int) -> float:
        """Seconds to wait after request number `step`, from 0, without jitter. Held calls are not counted."""
        return self._interval * (step + 1)

    def has_waited(self, held: float) -> bool:
        """Whether a call was held long enough to replace the poll interval."""
        return held >= max(self._interval, PAUSE_AFTER_HOLD)

    def lane(self, position: int, now: float, is_first: bool) -> tuple[int, bool]:
        """The lane of a waiting session: its age as a power of four seconds, and whether this run has polled it."""
        age = max(now - self._to_monotonic - self.sessions.started_at[position], 0.0)
        return int(math.log(age + 1.0, _AGE_FACTOR)), not is_first

    def _choose(self, now: float) -> Lane:
        waiting = [lane for lane in self._lanes.values() if lane]
        if len(waiting) == 1:
            return waiting[0]
        self._choices += 1
        ages = {lane.age: self._served_at[lane.age] for lane in waiting}
        passed_over = min(ages, key=ages.__getitem__)
        if self._choices - ages[passed_over] > _PASSED_OVER * len(ages):
            waiting = [lane for lane in waiting if lane.age == passed_over]
        chosen = max(waiting, key=lambda lane: self._expected_loss(lane.first, now))
        self._served_at[chosen.age] = self._choices
        return chosen

    def _expected_loss(self, position: int, now: float) -> float:
        """In seconds: the probability that the session is final at the end of a call, times its wait until then."""
        started = self.sessions.started_at[position] + self._to_monotonic
        pending_at = self._pending_at[position]
        end = now + self._hold
        chance = self._law.chance(pending_at - started, end - started)
        return chance * (end - max(pending_at, self._started) + _LEAST_WAIT)

    def _promote(self, now: float) -> None:
        while self._ticks and self._ticks[0] * _TICK <= now:
            due = self._later.pop(heapq.heappop(self._ticks))
            self._later_count -= len(due)
            for position in due:
                self._make_ready(position, now, is_first=False)

    def _make_ready(self, position: int, now: float, is_first: bool) -> None:
        key = self.lane(position, now, is_first)
        if key not in self._lanes:
            self._lanes[key] = Lane(age=key[0])
            self._served_at.setdefault(key[0], self._choices)
        self._lanes[key].append(position)
        self._ready += 1


class Lane:
    """A first-in-first-out queue of the positions of sessions of one age, four bytes each."""

    __slots__ = ("_head", "_items", "age")

    def __init__(self, age: int) -> None:
        self.age = age
        self._items = array("I")
        self._head = 0

    def __bool__(self) -> bool:
        return self._head < len(self._items)

    @property
    def first(self) -> int:
        return self._items[self._head]

    def append(self, position: int) -> None:
        self._items.append(position)

    def pop(self) -> int:
        position = self._items[self._head]
        self._head += 1
        if self._head >= _COMPACT_AT and self._head * 2 >= len(self._items):
            del self._items[: self._head]
            self._head = 0
        return position
