"""How soon a fulfilled session is noticed, and for how many requests: this schedule beside the usual ones.

Runs the engine on a virtual clock, against an API that answers pending calls at once and against one that holds them
for up to six seconds, and answers the moment that the purchase is fulfilled. Two kinds of purchases:

- long-tailed: completion times are lognormal; some purchases are new, some were found pending by earlier runs;
- late: all complete about ten minutes after they were initiated, as the law that the schedule assumes does not expect;
  these show what learning the law is worth, and are not asked in the usual ways.

`law learned` is this schedule with the law that the answers of a run over other purchases of the kind give.

`best possible` knows when each purchase completes and asks once: as soon as a call would be held until then, within
the ceiling and the requests in flight, so that what it asked in time is noticed without delay. Its answers take no
time on the way, and it uses the whole ceiling, of which `pace` leaves 7 % as a margin.

The demand is the mean rate of fixed-interval polling of the first kind without a ceiling. Ceilings are shares of it,
in whole requests, as a run uses them; requests in flight are in proportion to the ceiling as the defaults are.
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
TAUGHT_BY = 4  # the seed of the purchases from which the law is learned
BUDGET = 900.0
INTERVAL = 2.0
WALL = 1_800_000_000.0  # the wall clock when the run starts, seconds since the epoch
HOLDS = (0.0, 6.0)  # seconds
CEILINGS = (0.1, 0.5, 2.0)
IN_FLIGHT_PER_CEILING = Settings.model_fields["max_concurrency"].default / 25.0
UNLIMITED = 100_000


@dataclass(frozen=True)
class Purchase:
    """Times in seconds of the run's clock, which starts at 0. `asked` is when an earlier run found it pending."""

    started: float
    asked: float
    completed: float


class FixedInterval(Schedule):
    """Asks again after the same interval each time, in the order in which sessions fall due."""

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
    """What the API and the run allow: requests per second (0 = no ceiling), requests in flight, seconds of a hold."""

    ceiling: float
    in_flight: int
    hold: float


@dataclass(frozen=True)
class Polled:
    """Of one run: when each purchase's completion was noticed, the requests that it took, and what they taught."""

    noticed: dict[int, float]
    requests: int
    law: CompletionLaw


def long_tailed(rng: random.Random) -> list[Purchase]:
    """Three in four are new, of the last five minutes; the others are of the last two days and were asked before."""
    found: list[Purchase] = []
    while len(found) < SESSIONS:
        is_new = len(found) % 4 != 0
        started = -rng.uniform(0.0, 300.0 if is_new else 172_800.0)
        asked = -math.inf if is_new else rng.uniform(started, 0.0)
        completed = started + 20.0 * rng.lognormvariate(0.0, 2.0)
        # An old purchase is here because it was pending when it was asked last.
        while completed <= asked:
            completed = started + 20.0 * rng.lognormvariate(0.0, 4.0)
        found.append(Purchase(started, asked, completed))
    return found


def late(rng: random.Random) -> list[Purchase]:
    """Of the last half-hour. Half were asked before, at any time since."""
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
    """Each purchase that was asked, by the bands of age in which it was last pending and first final."""
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
    """The same for somebody who knows when each purchase completes.

    Asking in the order of completion makes the mean lag smallest: purchases alike in all else, the first to be
    late is the first to be served.
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
    """Seconds from completion, or the run's start, to its being noticed; those not noticed count to the run's end."""
    lags = [times.get(i, BUDGET) - max(p.completed, 0.0) for i, p in enumerate(chosen) if p.completed < BUDGET]
    return statistics.fmean(max(0.0, lag) for lag in lags)


def compare(
    kind: str,
    draw: Callable[[random.Random], list[Purchase]],
    hold: float,
    demand: float,
    usual: Mapping[str, type[Schedule]],
) -> Table:
    """One table: every way of asking, at every ceiling."""
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
