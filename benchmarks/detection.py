"""Lag of detecting final sessions, and the requests that detection takes: this schedule beside common ones.

Runs the engine on a virtual clock, against two APIs: one answers pending calls at once, the other holds them for up to
six seconds and answers as soon as the purchase is fulfilled. There are two kinds of purchases:

- long-tailed: completion times are lognormal. Some purchases are new, and earlier runs found the others pending.
- late: all complete about ten minutes after they were initiated, contrary to the completion-time distribution that the
  schedule assumes. They show the benefit of a learned distribution, and are not polled by the common schedules.

`law learned` is this schedule with the completion-time distribution learned from a run over other purchases.

`best possible` knows the completion time of each purchase and polls it once, early enough that the held call ends at
completion, within the ceiling and the requests in flight. A purchase that it polls in time has no lag. Its answers have
no network delay, and it uses the whole ceiling; `pace` leaves a margin of 7 %.

The demand is the mean rate of fixed-interval polling of the first kind without a ceiling. Ceilings are shares of the
demand, rounded to whole requests per second. Requests in flight are proportional to the ceiling, as in the defaults.
"""

from __future__ import annotations

import heapq
import math
import random
import statistics
import tempfile
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from pipeline.polling.answers import Outcome
from pipeline.polling.completion_law import CompletionLaw, band
from pipeline.polling.endpoint import BUY_STATUS
from pipeline.polling.engine import MICROSECONDS, Engine, Limits
from pipeline.polling.pending import NEVER, PendingSessions
from pipeline.polling.schedule import Schedule
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.settings import Settings
from pipeline.simulator.virtual_api import Asked, Conduct, Fate, VirtualApi
from pipeline.simulator.virtual_time import VirtualTimeLoop
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.raw_log import ResponseLog

SESSIONS = 3_000
SEEDS = (1, 2, 3)
TAUGHT_BY = 4  # the seed of the purchases from which the distribution is learned
BUDGET = 900.0
INTERVAL = 2.0
WALL = 1_800_000_000.0  # wall-clock time at the start of the run, in seconds since the epoch
HOLDS = (0.0, 6.0)  # seconds
CEILINGS = (0.1, 0.5, 2.0)
IN_FLIGHT_PER_CEILING = Settings.model_fields["max_concurrency"].default / 25.0
UNLIMITED = 100_000


@dataclass(frozen=True)
class Purchase:
    """Times in seconds of the run's clock, which starts at 0. `asked` is the last poll of an earlier run."""

    started: float
    asked: float
    completed: float


class FixedInterval(Schedule):
    """Polls at a fixed interval, in the order in which sessions fall due."""

    def interval(self, _step: int) -> float:
        return INTERVAL

    def has_waited(self, _held: float) -> bool:
        return False

    def first_order(self, _now: float) -> Iterable[int]:
        return range(len(self.sessions))

    def lane(self, _position: int, _now: float, is_first: bool) -> tuple[int, bool]:  # noqa: ARG002
        return 0, True


class ExponentialBackoff(FixedInterval):
    """Doubles the interval each time, up to a minute."""

    def interval(self, step: int) -> float:
        return INTERVAL * 2.0 ** min(step, 10)


@dataclass(frozen=True)
class Limit:
    """The ceiling in requests per second (0 = none), the requests in flight, and the API's hold in seconds."""

    ceiling: float
    in_flight: int
    hold: float


@dataclass(frozen=True)
class Polled:
    """One run's result: detection times by purchase, the number of requests, and the learned distribution."""

    noticed: dict[int, float]
    requests: int
    law: CompletionLaw


def long_tailed(rng: random.Random) -> list[Purchase]:
    """Three in four were initiated in the last five minutes; the others in the last two days, and polled before."""
    found: list[Purchase] = []
    while len(found) < SESSIONS:
        is_new = len(found) % 4 != 0
        started = -rng.uniform(0.0, 300.0 if is_new else 172_800.0)
        asked = -math.inf if is_new else rng.uniform(started, 0.0)
        completed = started + 20.0 * rng.lognormvariate(0.0, 2.0)
        # An earlier poll found an old purchase pending, so it completed later than that.
        while completed <= asked:
            completed = started + 20.0 * rng.lognormvariate(0.0, 4.0)
        found.append(Purchase(started, asked, completed))
    return found


def late(rng: random.Random) -> list[Purchase]:
    """All were initiated in the last half-hour. Half were polled before, at a random time."""
    found: list[Purchase] = []
    while len(found) < SESSIONS:
        started = -rng.uniform(0.0, 1_800.0)
        asked = -math.inf if len(found) % 2 == 0 else rng.uniform(started, 0.0)
        completed = started + 600.0 * rng.lognormvariate(0.0, 0.15)
        if completed > asked:
            found.append(Purchase(started, asked, completed))
    return found


def poll(policy: type[Schedule], chosen: list[Purchase], limit: Limit, seed: int, law: CompletionLaw) -> Polled:
    """One run of the engine over the purchases."""
    rng = random.Random(seed)
    loop = VirtualTimeLoop()
    api = VirtualApi({str(i): Fate(p.completed) for i, p in enumerate(chosen)}, Conduct(hold=limit.hold), rng)
    sessions = PendingSessions(
        pa.array(str(i) for i in range(len(chosen))),
        array("d", (WALL + p.started for p in chosen)),
        array("d", (NEVER if p.asked == -math.inf else WALL + p.asked for p in chosen)),
    )
    with tempfile.TemporaryDirectory() as folder:
        log = ResponseLog(DataDirectory(Path(folder)), STATUS_RESPONSES, datetime.now(UTC))
        limits = Limits(limit.in_flight, limit.ceiling, BUDGET, INTERVAL)
        engine = Engine(
            BUY_STATUS,
            api.ask,
            log,
            limits,
            "virtual",
            lambda: round((WALL + loop.time()) * MICROSECONDS),
            lambda _: None,
        )
        loop.run_until_complete(engine.run(policy(sessions, INTERVAL, rng, law)))
        log.close()
    loop.close()
    times = {int(a.session_id): a.answered_at for a in api.requests if a.outcome is Outcome.FULFILLED and a.answered_at}
    return Polled(times, len(api.requests), CompletionLaw.learned(intervals(chosen, api.requests)))


def intervals(chosen: list[Purchase], requests: list[Asked]) -> list[tuple[int, int | None, int]]:
    """The age bands of the last pending and the first final answer of each polled purchase."""
    first = [0 if p.asked == -math.inf else band(p.asked - p.started) for p in chosen]
    last: dict[int, int | None] = {}
    for asked in requests:
        number, answered_at = int(asked.session_id), asked.answered_at or 0.0
        age = band(answered_at - chosen[number].started)
        if asked.outcome is Outcome.PENDING:
            first[number], last[number] = age, None
        else:
            last[number] = age
    return [(first[number], final, 1) for number, final in last.items()]


def best_possible(chosen: list[Purchase], limit: Limit) -> Polled:
    """The result of a schedule that knows all completion times.

    Polling in the order of completion minimizes the mean lag, because every purchase takes one request.
    """
    times: dict[int, float] = {}
    free_at, busy_until = 0.0, [0.0] * limit.in_flight
    for i in sorted(range(len(chosen)), key=lambda i: chosen[i].completed):
        at = max(chosen[i].completed - limit.hold, free_at, busy_until[0], 0.0)
        if at > BUDGET:
            break
        times[i], free_at = max(at, chosen[i].completed), at + 1.0 / limit.ceiling
        heapq.heapreplace(busy_until, times[i])
    return Polled(times, len(times), CompletionLaw.assumed())


def mean_lag(chosen: list[Purchase], times: dict[int, float]) -> float:
    """Mean seconds from completion, or the run's start if later, to detection, or the run's end if undetected."""
    lags = [times.get(i, BUDGET) - max(p.completed, 0.0) for i, p in enumerate(chosen) if p.completed < BUDGET]
    return statistics.fmean(max(0.0, lag) for lag in lags)


def compare(
    kind: str,
    draw: Callable[[random.Random], list[Purchase]],
    hold: float,
    demand: float,
    usual: Mapping[str, type[Schedule]],
) -> Table:
    """One table: all schedules at all ceilings."""
    drawn = {seed: draw(random.Random(seed)) for seed in SEEDS}
    others, assumed = draw(random.Random(TAUGHT_BY)), CompletionLaw.assumed()
    table = Table(
        title=f"{SESSIONS} {kind} sessions, {BUDGET:.0f} s, calls held for {hold:.0f} s, "
        f"demand {demand:.0f} requests/s, mean of {len(SEEDS)} seeds"
    )
    for name in ("ceiling", "in flight", "schedule", "mean lag s", "of best", "requests/session", "noticed %"):
        table.add_column(name, justify="right")
    completed = sum(p.completed < BUDGET for chosen in drawn.values() for p in chosen)
    for share in CEILINGS:
        ceiling = max(1, round(share * demand))
        limit = Limit(ceiling, round(IN_FLIGHT_PER_CEILING * ceiling), hold)
        learned = poll(Schedule, others, limit, TAUGHT_BY, assumed).law
        policies = {
            "this schedule": (Schedule, assumed),
            "law learned": (Schedule, learned),
            **{name: (policy, assumed) for name, policy in usual.items()},
        }
        ways: dict[str, Callable[[int], Polled]] = {
            "best possible": lambda seed, at=limit: best_possible(drawn[seed], at),  # type: ignore[misc]
            **{
                name: lambda seed, p=policy, w=law, at=limit: poll(p, drawn[seed], at, seed, w)  # type: ignore[misc]
                for name, (policy, law) in policies.items()
            },
        }
        best = 0.0
        for name, way in ways.items():
            outcomes = {seed: way(seed) for seed in SEEDS}
            lag = statistics.fmean(mean_lag(drawn[seed], polled.noticed) for seed, polled in outcomes.items())
            best = best or lag
            table.add_row(
                f"{100 * share:.0f} % = {ceiling}/s",
                str(limit.in_flight),
                name,
                f"{lag:.2f}",
                f"{lag / best:.2f}",
                f"{statistics.fmean(polled.requests for polled in outcomes.values()) / SESSIONS:.1f}",
                f"{100 * sum(len(polled.noticed) for polled in outcomes.values()) / completed:.1f}",
            )
        table.add_section()
    return table


def main() -> None:
    usual = {"fixed interval": FixedInterval, "exponential backoff": ExponentialBackoff}
    for hold in HOLDS:
        tried = long_tailed(random.Random(SEEDS[0]))
        unlimited = poll(FixedInterval, tried, Limit(0.0, UNLIMITED, hold), SEEDS[0], CompletionLaw.assumed())
        demand = unlimited.requests / BUDGET
        for table in (
            compare("long-tailed", long_tailed, hold, demand, usual),
            compare("late", late, hold, demand, {}),
        ):
            Console(width=120).print(table)


if __name__ == "__main__":
    main()
