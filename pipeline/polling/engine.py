"""Asks every pending session until its answer is final, the budget is used up, or the API refuses.

One dispatcher takes due sessions from the schedule and lets them go at the pace allowed; each
request is a task. A writer puts what came onto disk every half second. Time is the event loop's
clock, randomness is passed in, and answers come from whatever `ask` is given.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from pipeline.errors import PipelineError
from pipeline.lake.response_log import Response, ResponseLog
from pipeline.lake.store import StoreError
from pipeline.polling.answers import Answer, Outcome, interpret, retry_after
from pipeline.polling.pace import Pace
from pipeline.polling.refusals import Watch
from pipeline.polling.schedule import Due, Schedule

WRITE_EVERY = 0.5  # seconds; an answer is on disk within a second of its coming, well below the two promised
REPORT_EVERY = 1.0  # seconds


class Exit(StrEnum):
    """Why a run stopped asking, when it was neither refused nor interrupted."""

    ALL_FINAL = "every session is final"
    BUDGET_USED = "the poll budget is used up"


class PollingInterruptedError(PipelineError):
    """A signal ended the run. What came is written; the rest stays pending."""

    def __init__(self, signal_number: int) -> None:
        super().__init__("polling was stopped by a signal; every answer that came is kept, and the next run carries on")
        self.signal_number = signal_number


@dataclass
class Progress:
    """Where a run stands. `seconds` is since its start."""

    total: int
    seconds: float = 0.0
    requests: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    exit: Exit | None = None

    @property
    def fulfilled(self) -> int:
        return self.outcomes[Outcome.FULFILLED]

    @property
    def failed(self) -> int:
        return self.outcomes[Outcome.FAILED]

    @property
    def pending(self) -> int:
        return self.total - self.fulfilled - self.failed

    @property
    def all_outcomes(self) -> dict[Outcome, int]:
        """Answers by meaning, with a zero for those that did not come."""
        return {outcome: self.outcomes[outcome] for outcome in Outcome}

    @property
    def line(self) -> str:
        """Where the run stands, for a log."""
        left = self.seconds_left
        rate = self.requests / self.seconds if self.seconds else 0.0
        estimate = f", about {left:.0f} s left" if left and not self.exit else ""
        return (
            f"{self.fulfilled} fulfilled, {self.failed} failed, {self.pending} pending of {self.total} sessions; "
            f"{self.requests} requests at {rate:.1f}/s in {self.seconds:.0f} s{estimate}"
        )

    @property
    def seconds_left(self) -> float | None:
        """An estimate from the mean rate so far; None before the first final answer."""
        resolved = self.fulfilled + self.failed
        return self.seconds / resolved * self.pending if resolved else None


@dataclass(frozen=True)
class Limits:
    """What bounds a run: requests in flight, requests per second (0 = none), seconds, seconds."""

    max_concurrency: int
    rate_ceiling: float
    poll_budget: float
    poll_interval: float


class Engine:
    """One run of polling. `ask` sends one request; `clock` gives the wall time for the records."""

    def __init__(
        self,
        ask: Callable[[str], Awaitable[Answer]],
        log: ResponseLog,
        limits: Limits,
        url: str,
        clock: Callable[[], datetime],
        rng: random.Random,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self._ask = ask
        self._log = log
        self._limits = limits
        self._url = url
        self._clock = clock
        self._on_progress = on_progress
        self._schedule = Schedule(limits.poll_interval, rng)
        self._pace = Pace(limits.rate_ceiling)
        self._in_flight: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._stopped_by: BaseException | None = None
        self._writing: asyncio.Future[None] | None = None

    async def run(self, session_ids: Iterable[str]) -> Progress:
        """Polls the sessions. What came is on disk when this returns or raises, whatever it raises.

        Raises ApiRefusedError and ApiUnreachableError as `refusals` says, and PollingInterruptedError.
        """
        self._time = asyncio.get_running_loop().time
        started = self._time()
        for session_id in session_ids:
            self._schedule.add(session_id, started)
        self._progress = Progress(total=len(self._schedule))
        self._watch = Watch(self._url, started)
        self._started = started
        writer = asyncio.create_task(self._write_regularly())
        try:
            self._progress.exit = await self._dispatch(started + self._limits.poll_budget)
            await self._finish_in_flight()
            self._watch.check_answered()
        finally:
            await self._cancel(writer, *self._in_flight)
            if self._writing:
                await self._writing
            self._log.write(self._log.take())
            self._report()
        return self._progress

    def stop(self, signal_number: int) -> None:
        """Ends the run: asks nobody any more, drops what is under way, writes what came."""
        self._stopped_by = self._stopped_by or PollingInterruptedError(signal_number)
        self._wake.set()

    async def _dispatch(self, deadline: float) -> Exit:
        while True:
            self._raise_if_stopped()
            now = self._time()
            if not self._schedule and not self._in_flight:
                return Exit.ALL_FINAL
            earliest = max(self._schedule.next_at, now + self._pace.wait(now))
            if now >= deadline or (not self._in_flight and earliest > deadline):
                return Exit.BUDGET_USED
            if len(self._in_flight) >= self._limits.max_concurrency:
                wait = deadline - now
            else:
                wait = min(earliest, deadline) - now
            if wait > 0:
                await self._sleep_or_wake(wait)
            else:
                self._pace.sent(now)
                self._progress.requests += 1
                task = asyncio.create_task(self._poll(self._schedule.pop()))
                self._in_flight.add(task)
                task.add_done_callback(self._done)

    async def _poll(self, due: Due) -> None:
        asked_at, requested_at = self._time(), self._clock()
        answer = await self._ask(due.session_id)
        now, received_at = self._time(), self._clock()
        meaning = interpret(due.session_id, answer)
        self._log.append(
            Response(
                due.session_id,
                requested_at,
                received_at,
                answer.status,
                answer.headers.get("content-type"),
                answer.body,
                meaning.outcome.value,
                meaning.detail,
            )
        )
        self._progress.outcomes[meaning.outcome] += 1
        self._watch.see(due.session_id, answer, meaning, now)
        if meaning.outcome.is_final:
            return
        asked_wait = retry_after(answer, received_at)
        if answer.status == 429:
            self._pace.too_many(asked_at, now, asked_wait)
        self._schedule.again(due, now, at_least=asked_wait or 0.0)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        if not task.cancelled() and task.exception() and self._stopped_by is None:
            self._stopped_by = task.exception()
        self._wake.set()

    def _raise_if_stopped(self) -> None:
        if self._stopped_by is not None:
            raise self._stopped_by

    async def _finish_in_flight(self) -> None:
        """Held calls that were under way when the budget ended may still bring their answers."""
        while self._in_flight:
            await self._sleep_or_wake(REPORT_EVERY)
            self._raise_if_stopped()

    async def _sleep_or_wake(self, seconds: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _write_regularly(self) -> None:
        last_report = self._started
        while True:
            await asyncio.sleep(WRITE_EVERY if not self._log.is_full else 0)
            self._writing = asyncio.ensure_future(asyncio.to_thread(self._log.write, self._log.take()))
            try:
                # Shielded: a write that has begun must end before the last one, whatever stops the run.
                await asyncio.shield(self._writing)
            except StoreError as error:
                self._stopped_by = error
                self._wake.set()
                return
            if self._time() - last_report >= REPORT_EVERY:
                last_report = self._time()
                self._report()

    def _report(self) -> None:
        self._progress.seconds = self._time() - self._started
        self._on_progress(self._progress)

    @staticmethod
    async def _cancel(*tasks: asyncio.Task[None]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
