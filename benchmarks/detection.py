"""How soon a fulfilled session is noticed, and for how many requests: this schedule beside the usual ones.

Runs the engine on a virtual clock against purchases whose completion times have a long tail: some new and
never asked, some that earlier runs found pending. `best possible` knows when each purchase completes and
asks then, once, as the ceiling allows. The demand is the mean rate of fixed-interval polling without a ceiling.
"""

from __future__ import annotations

import math
import random
import statistics
import tempfile
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from pipeline.lake.directory import DataDirectory
from pipeline.lake.response_log import ResponseLog
from pipeline.polling.answers import Outcome
from pipeline.polling.engine import MICROSECONDS, Engine, Limits
from pipeline.polling.pending import NEVER, PendingSessions
from pipeline.polling.schedule import Schedule
from pipeline.simulator.virtual_api import Conduct, Fate, VirtualApi
from pipeline.simulator.virtual_time import VirtualTimeLoop

SESSIONS = 3_000
SEEDS = (1, 2, 3)
BUDGET = 900.0
INTERVAL = 2.0
WALL = 1_800_000_000.0  # the wall clock when the run starts, seconds since the epoch
CEILINGS = (0.1, 0.5, 2.0)


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

    def lane(self, _position: int, _now: float) -> tuple[bool, int]:
        return False, 0


class ExponentialBackoff(FixedInterval):
    """Doubles the interval each time, up to a minute."""

    def interval(self, step: int) -> float:
        return INTERVAL * 2.0 ** min(step, 10)


POLICIES: dict[str, type[Schedule]] = {
    "this schedule": Schedule,
    "fixed interval": FixedInterval,
    "exponential backoff": ExponentialBackoff,
}


def purchases(rng: random.Random) -> list[Purchase]:
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


def detected(policy: type[Schedule], chosen: list[Purchase], ceiling: float, seed: int) -> tuple[dict[int, float], int]:
    """When each purchase's completion was noticed, and the requests that it took."""
    rng = random.Random(seed)
    loop = VirtualTimeLoop()
    api = VirtualApi({str(i): Fate(p.completed) for i, p in enumerate(chosen)}, Conduct(), rng)
    sessions = PendingSessions(
        pa.array(str(i) for i in range(len(chosen))),
        array("d", (WALL + p.started for p in chosen)),
        array("d", (NEVER if p.asked == -math.inf else WALL + p.asked for p in chosen)),
    )
    with tempfile.TemporaryDirectory() as folder:
        log = ResponseLog(DataDirectory(Path(folder)), datetime.now(UTC))
        limits = Limits(2_000, ceiling, BUDGET, INTERVAL)
        engine = Engine(
            api.ask, log, limits, "virtual", lambda: round((WALL + loop.time()) * MICROSECONDS), lambda _: None
        )
        loop.run_until_complete(engine.run(policy(sessions, INTERVAL, rng)))
    loop.close()
    times = {int(a.session_id): a.answered_at for a in api.requests if a.outcome is Outcome.FULFILLED and a.answered_at}
    return times, len(api.requests)


def best_possible(chosen: list[Purchase], ceiling: float) -> tuple[dict[int, float], int]:
    """The same for somebody who knows when each purchase completes."""
    times, free = {}, 0.0
    for i in sorted(range(len(chosen)), key=lambda i: chosen[i].completed):
        at = max(chosen[i].completed, free, 0.0)
        if at > BUDGET:
            break
        times[i], free = at, at + 1.0 / ceiling
    return times, len(times)


def mean_lag(chosen: list[Purchase], times: dict[int, float]) -> float:
    """Seconds from completion, or the run's start, to its being noticed; those not noticed count to the run's end."""
    lags = [times.get(i, BUDGET) - max(p.completed, 0.0) for i, p in enumerate(chosen) if p.completed < BUDGET]
    return statistics.fmean(max(0.0, lag) for lag in lags)


def main() -> None:
    drawn = {seed: purchases(random.Random(seed)) for seed in SEEDS}
    _, requests = detected(FixedInterval, drawn[SEEDS[0]], 0.0, SEEDS[0])
    demand = requests / BUDGET
    table = Table(
        title=f"{SESSIONS} sessions, {BUDGET:.0f} s, demand {demand:.0f} requests/s, mean of {len(SEEDS)} seeds"
    )
    for name in ("ceiling", "schedule", "mean lag s", "of best", "requests/session", "noticed %"):
        table.add_column(name, justify="right")
    for share in CEILINGS:
        ceiling = share * demand
        ways: dict[str, Callable[[int], tuple[dict[int, float], int]]] = {
            "best possible": lambda seed, c=ceiling: best_possible(drawn[seed], c),  # type: ignore[misc]
            **{
                name: lambda seed, p=policy, c=ceiling: detected(p, drawn[seed], c, seed)  # type: ignore[misc]
                for name, policy in POLICIES.items()
            },
        }
        best = 0.0
        for name, way in ways.items():
            outcomes = {seed: way(seed) for seed in SEEDS}
            lag = statistics.fmean(mean_lag(drawn[seed], times) for seed, (times, _) in outcomes.items())
            best = best or lag
            asked = statistics.fmean(count for _, count in outcomes.values()) / SESSIONS
            completed = sum(p.completed < BUDGET for chosen in drawn.values() for p in chosen)
            noticed = sum(len(times) for times, _ in outcomes.values()) / completed
            table.add_row(
                f"{100 * share:.0f} %",
                name,
                f"{lag:.2f}",
                f"{lag / best:.1f}" if best else "",
                f"{asked:.1f}",
                f"{100 * noticed:.1f}",
            )
        table.add_section()
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
