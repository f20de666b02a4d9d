"""Which session is asked next, and when: a queue by due time, and a policy for when more are due than may be asked.

**When.** A session that was pending is asked again after the poll interval, then after two, three, four
intervals and so on up to a minute, lengthened by jitter. Intervals that grow by equal steps grow with
the square root of the time that the session has been watched. That is the rule of optimum checking
(Barlow, Hunter and Proschan, "Optimum checking procedures", 1963): the interval that makes the time to
detection smallest for the questions spent is proportional to 1/√h, h being the chance per second that
the purchase completes. Completion times have long tails, h falls as 1/age, so 1/√h grows as √age.

**Which.** Under a tight ceiling many are due at once. Each has an expected loss: the chance that it has
become final since it was last asked, times the seconds that this run has let it wait. The one with the
largest is asked first, which serves each age as often as √h says, and sessions never asked before those
whose last answer was "pending" a moment ago. The chance comes from a completion time with survival
(1 + age/s)^-½, the plainest law with h falling as 1/age; only the order matters, and it depends little on it.

**Fairness.** Sessions wait in lanes: by age within a factor of four, and apart from each other those that
were never asked and those that were. Every tenth question goes to the lanes in turn, whatever their losses.
So no backlog, old or new, keeps another lane from at least 1/(10 × lanes) of the ceiling. Within a lane
the one that has waited longest comes first.

`benchmarks/detection.py` compares this with a fixed interval, exponential backoff and the best possible.
"""

from __future__ import annotations

import heapq
import math
import random
from array import array

from pipeline.polling.pending import NEVER, PendingSessions

MAX_INTERVAL = 60.0
_JITTER = 0.25
_TICK = 0.01  # seconds; sessions that are due within one tick share a slot of the queue
_TYPICAL = 1.0  # seconds; the scale `s` of the completion times' law
_LANE_FACTOR = 4.0
_IN_TURN_EVERY = 10
_MOST_STEPS = 60_000  # where the count of a session's questions stops; far beyond the longest interval
_COMPACT_AT = 4096


class Schedule:
    """The sessions of one run that wait to be asked, by their positions in `sessions`.

    Times are seconds of one monotonic clock, except those inside `sessions`.
    """

    def __init__(self, sessions: PendingSessions, interval: float, rng: random.Random) -> None:
        self.sessions = sessions
        self._interval = interval
        self._rng = rng
        self._steps = array("H", [0]) * len(sessions)
        self._asked = sessions.asked_at  # from the start on by the monotonic clock, in place: there may be a million
        self._lanes: dict[tuple[bool, int], Lane] = {}
        self._ready = 0
        self._later: dict[int, array[int]] = {}
        self._ticks: list[int] = []
        self._later_count = 0
        self._picks = 0
        self._turn = (False, -1)

    def start(self, now: float, wall: float) -> None:
        """Makes every session due. `wall` is the wall clock's reading, in seconds since the epoch, at `now`."""
        self._started = now
        self._to_monotonic = now - wall
        for position, asked_at in enumerate(self._asked):
            self._asked[position] = asked_at + self._to_monotonic
        for position in range(len(self.sessions)):
            self._make_ready(position, now)

    def __len__(self) -> int:
        """How many wait, due or not."""
        return self._ready + self._later_count

    def session_id(self, position: int) -> str:
        return self.sessions.session_id(position)

    def next_at(self, now: float) -> float:
        """When a session can be asked: `now` if one is due, infinity when none waits."""
        if self._ready:
            return now
        return self._ticks[0] * _TICK if self._ticks else math.inf

    def pop(self, now: float) -> int:
        """The session to ask now. One must be due."""
        self._promote(now)
        lane = self._lanes[self._choose(now)]
        self._ready -= 1
        return lane.pop()

    def again(self, position: int, now: float, at_least: float = 0.0) -> None:
        """Puts back a session that was answered at `now` and is not final, for after its interval and `at_least`.

        Jitter only lengthens an interval, so that no session is asked sooner than its interval says.
        """
        self._asked[position] = now
        delay = min(MAX_INTERVAL, self.interval(self._steps[position]) * self._rng.uniform(1.0, 1.0 + _JITTER))
        self._steps[position] = min(self._steps[position] + 1, _MOST_STEPS)
        tick = math.ceil((now + max(delay, at_least)) / _TICK)
        if tick not in self._later:
            self._later[tick] = array("I")
            heapq.heappush(self._ticks, tick)
        self._later[tick].append(position)
        self._later_count += 1

    def interval(self, step: int) -> float:
        """Seconds to wait after the question number `step`, from 0, before jitter."""
        return self._interval * (step + 1)

    def _choose(self, now: float) -> tuple[bool, int]:
        waiting = [key for key, lane in self._lanes.items() if lane]
        if len(waiting) == 1:
            return waiting[0]
        self._picks += 1
        if self._picks % _IN_TURN_EVERY == 0:
            waiting.sort()
            self._turn = next((key for key in waiting if key > self._turn), waiting[0])
            return self._turn
        return max(waiting, key=lambda key: self._expected_loss(self._lanes[key].first, now))

    def _expected_loss(self, position: int, now: float) -> float:
        """Seconds: the chance that the session is final by now, times how long this run has let it wait."""
        started = self.sessions.started_at[position] + self._to_monotonic
        asked = self._asked[position]
        age = max(now - started, 0.0) + _TYPICAL
        age_when_asked = max(asked - started, 0.0) + _TYPICAL
        chance = 1.0 - math.sqrt(min(age_when_asked / age, 1.0))
        return chance * (now - max(asked, self._started) + _TYPICAL)

    def _promote(self, now: float) -> None:
        while self._ticks and self._ticks[0] * _TICK <= now:
            due = self._later.pop(heapq.heappop(self._ticks))
            self._later_count -= len(due)
            for position in due:
                self._make_ready(position, now)

    def lane(self, position: int, now: float) -> tuple[bool, int]:
        """The lane in which a session waits: whether it was ever asked, and its age within a factor of four."""
        age = max(now - self._to_monotonic - self.sessions.started_at[position], 0.0)
        return self._asked[position] != NEVER, int(math.log(age + 1.0, _LANE_FACTOR))

    def _make_ready(self, position: int, now: float) -> None:
        key = self.lane(position, now)
        if key not in self._lanes:
            self._lanes[key] = Lane()
        self._lanes[key].append(position)
        self._ready += 1


class Lane:
    """Positions, first in first out, four bytes each."""

    __slots__ = ("_head", "_items")

    def __init__(self) -> None:
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
