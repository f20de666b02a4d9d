"""Share of an API's limit that a run uses: the learned pace beside additive increase, multiplicative decrease (AIMD).

The engine polls for 60 seconds, on a virtual clock with answers after 20 to 200 ms, and over HTTP against the bundled
simulator. `of limit` is the number of accepted requests over the number that the limiter would have accepted.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.table import Table

from pipeline.endpoint import STATUS_PATH
from pipeline.polling.answers import Answer
from pipeline.polling.client import StatusClient
from pipeline.polling.endpoint import BUY_STATUS
from pipeline.polling.engine import MICROSECONDS, Engine, Limits
from pipeline.polling.pace import Pace
from pipeline.polling.pending import PendingSessions
from pipeline.polling.progress import Progress
from pipeline.polling.schedule import Schedule
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.simulator.limiters import (
    AtRandom,
    Changing,
    ClockSecond,
    Limiter,
    Rate,
    Shared,
    SlidingWindow,
    TokenBucket,
)
from pipeline.simulator.server import Simulator
from pipeline.simulator.service import serve
from pipeline.simulator.virtual_api import Conduct, Fate, VirtualApi
from pipeline.simulator.virtual_time import VirtualTimeLoop
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.raw_log import ResponseLog

LIMIT = 40
SECONDS = 60.0
SEEDS = (1, 2, 3, 4, 5)
SESSIONS = 12_000
CONCURRENCY = 160
CEILINGS = (0.0, 60.0)
LIMITERS: dict[str, Callable[[], Rate]] = {
    "sliding window": lambda: SlidingWindow(LIMIT, counts_refused=True),
    "clock second": lambda: ClockSecond(LIMIT),
    "token bucket of 10": lambda: TokenBucket(LIMIT, burst=10),
}
# With their mean limits, in requests per second.
CHANGES: dict[str, tuple[Callable[[], Limiter], float]] = {
    "40, then 10, then 80": (lambda: Changing(LIMITERS["sliding window"](), [(20.0, 10), (40.0, 80)]), 130 / 3),
    "half taken for 20 s": (lambda: Shared(LIMITERS["sliding window"](), LIMIT / 2, 20.0, 40.0), LIMIT * 5 / 6),
}
Ask = Callable[[str, bool], Awaitable[Answer]]
Asked = list[tuple[float, bool]]


class IncreaseAndDecrease(Pace):
    """AIMD (Chiu and Jain, 1989): a 429 halves the rate; then each second adds a twentieth of the former rate."""

    def __init__(self, ceiling: float) -> None:
        super().__init__(ceiling)
        self._rate = ceiling
        self._step = self._next = self._adjusted_at = self._recovered_at = self._blocked_until = 0.0
        self._times: list[float] = []

    def wait(self, now: float) -> float:
        since = max(self._recovered_at, self._blocked_until)
        if self._step and now > since:
            self._rate += self._step * (now - since)
            self._rate = min(self._rate, self._ceiling) if self._ceiling else self._rate
            self._recovered_at = now
        return max(0.0, max(self._blocked_until, self._next) - now)

    def sent(self, now: float) -> None:
        self._times.append(now)
        if self._rate:
            self._next = max(self._next, now - 0.02) + 1.0 / self._rate

    def accepted(self, asked_at: float) -> bool:  # noqa: ARG002
        return False  # it never pauses

    def refused(self, asked_at: float, now: float, retry_after: float | None) -> None:
        self._blocked_until = max(self._blocked_until, now + (1.0 if retry_after is None else retry_after))
        if self._rate and asked_at < self._adjusted_at:
            return
        former = self._rate or max(1.0, sum(at > now - 1.0 for at in self._times))
        self._rate, self._step = former / 2, (self._ceiling or former) / 20
        self._adjusted_at = self._recovered_at = now

    def lost(self) -> None:
        pass


PACES: dict[str, type[Pace]] = {"this pace": Pace, "AIMD": IncreaseAndDecrease}


@contextmanager
def a_run(ask: Ask, pace: type[Pace], ceiling: float, seconds: float, clock: Callable[[], int]) -> Iterator[Engine]:
    with tempfile.TemporaryDirectory() as folder:
        log = ResponseLog(DataDirectory(Path(folder)), STATUS_RESPONSES, datetime.now(UTC))
        engine = Engine(
            BUY_STATUS, ask, log, Limits(CONCURRENCY, ceiling, seconds, 2.0), "benchmark", clock, lambda _: None
        )
        engine._pace = pace(ceiling)
        yield engine
        log.close()


def schedule(count: int, seed: int) -> Schedule:
    return Schedule(PendingSessions.of((f"session-{i}" for i in range(count)), 0.0), 2.0, random.Random(seed))


def on_virtual_clock(pace: type[Pace], conduct: Conduct, ceiling: float, seed: int) -> tuple[float, float]:
    """Accepted requests per second, and the share of refused requests."""
    loop = VirtualTimeLoop()
    rng = random.Random(seed)
    loop.advance(rng.random())
    api = VirtualApi({f"session-{i}": Fate(0.0) for i in range(SESSIONS)}, conduct, rng)
    with a_run(api.ask, pace, ceiling, SECONDS, lambda: round(loop.time() * MICROSECONDS)) as engine:
        loop.run_until_complete(engine.run(schedule(SESSIONS, seed)))
    loop.close()
    refused = sum(asked.is_refused for asked in api.requests)
    return (len(api.requests) - refused) / SECONDS, refused / len(api.requests)


def over_http(pace: type[Pace], simulator: Simulator, ceiling: float, sessions: int, seconds: float) -> Progress:
    async def run(url: str) -> Progress:
        async with StatusClient(BUY_STATUS, url + simulator.prefix + STATUS_PATH, None, 30) as client:
            with a_run(client.ask, pace, ceiling, seconds, lambda: time.time_ns() // 1000) as engine:
                return await engine.run(schedule(sessions, 1))

    with serve(simulator) as url:
        return asyncio.run(run(url))


def limiters() -> Table:
    table = Table(
        title=f"Through the engine on a virtual clock, {SECONDS:.0f} s, the same with and without Retry-After; "
        f"mean of {len(SEEDS)} seeds, and the worst"
    )
    for name in ("limiter", "ceiling", "pace", "of limit", "worst", "refused %"):
        table.add_column(name, justify="right")
    cases: dict[str, tuple[Callable[[], Limiter], float, tuple[float, ...]]]
    cases = {name: (make, float(LIMIT), ceilings) for name, make in LIMITERS.items() for ceilings in (CEILINGS,)}
    cases |= {name: (make, mean, (0.0,)) for name, (make, mean) in CHANGES.items()}
    for name, (make, limit, ceilings) in cases.items():
        for ceiling in ceilings:
            for pace_name, pace in PACES.items():
                runs = [
                    on_virtual_clock(pace, Conduct(limiter=make(), retry_after=retry_after), ceiling, seed)
                    for seed in SEEDS
                    for retry_after in (1.0, None)
                ]
                shares = [rate / limit for rate, _ in runs]
                table.add_row(
                    name,
                    f"{ceiling:.0f}",
                    pace_name,
                    f"{fmean(shares):.3f}",
                    f"{min(shares):.3f}",
                    f"{100 * fmean(share for _, share in runs):.1f}",
                )
        table.add_section()
    return table


def http() -> Table:
    table = Table(title=f"Over HTTP, {SECONDS:.0f} s, a sliding window of {LIMIT} requests/s, Retry-After: 1")
    for name in ("ceiling", "pace", "of limit", "refused %"):
        table.add_column(name, justify="right")
    for ceiling in CEILINGS:
        for name, pace in PACES.items():
            limiter = SlidingWindow(LIMIT, counts_refused=True)
            done = over_http(pace, Simulator(delay_scale=0, limiter=limiter), ceiling, SESSIONS, SECONDS)
            accepted = done.fulfilled + done.failed
            refused = 100 * (1 - accepted / done.requests)
            table.add_row(f"{ceiling:.0f}", name, f"{accepted / SECONDS / LIMIT:.3f}", f"{refused:.1f}")
    return table


def at_random() -> Table:
    table = Table(title=f"Over HTTP, {SESSIONS:,} sessions, 429 with Retry-After: 1 at random; at most {SECONDS:.0f} s")
    for name in ("429s", "pace", "sessions/s", "of none"):
        table.add_column(name, justify="right")
    free = 0.0
    for share in (0.0, 0.01):
        for name, pace in PACES.items():
            limiter = AtRandom(share, random.Random(1))
            done = over_http(pace, Simulator(delay_scale=0, limiter=limiter), 0.0, SESSIONS, SECONDS)
            rate = (done.fulfilled + done.failed) / done.seconds
            free = free or rate
            table.add_row(f"{100 * share:.0f} %", name, f"{rate:,.0f}", f"{rate / free:.2f}")
    return table


def main() -> None:
    console = Console(width=110)
    for table in (limiters, http, at_random):
        console.print(table())


if __name__ == "__main__":
    main()
