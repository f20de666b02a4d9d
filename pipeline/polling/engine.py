"""Polls every pending session until it is final, the budget is used up, or the API refuses the run.

The engine is independent of HTTP, files and the wall clock: `ask` returns answers, a log stores
them, and time is the event loop's, so a loop with a virtual clock runs a day of polling in seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from pipeline.errors import PipelineError
from pipeline.polling.answers import (
    LONGEST_WAIT,
    WAIT_INSTEAD,
    Answer,
    Outcome,
    retry_after,
    with_implausible_wait,
)
from pipeline.polling.endpoint import Endpoint
from pipeline.polling.pace import Pace
from pipeline.polling.progress import Exit, Progress
from pipeline.polling.refusals import Watch
from pipeline.polling.schedule import Schedule
from pipeline.storage.errors import StoreError
from pipeline.storage.raw_log import Response, ResponseLog

WRITE_EVERY = 0.5  # seconds; answers are on disk within one second of their arrival, two are guaranteed
REPORT_EVERY = 1.0  # seconds
MICROSECONDS = 1_000_000


class PollingInterruptedError(PipelineError):
    """A signal ended the run. Received answers are stored; the other sessions stay pending."""

    def __init__(self, signal_number: int) -> None:
        super().__init__("polling was stopped by a signal; all received answers are kept, and the next run continues")
        self.signal_number = signal_number


@dataclass(frozen=True)
class Limits:
    """The limits of a run: requests in flight, requests per second (0 = no ceiling), seconds, seconds."""

    max_concurrency: int
    rate_ceiling: float
    poll_budget: float
    poll_interval: float


class Engine:
    """One polling run.

    `ask` sends one request about a session, on a fresh connection if its second argument is true. `clock` returns the
    wall time in microseconds since the epoch. `check` raises a PipelineError
    once this run must not send requests any more.

    A failure is confirmed by a second request, which goes before all others; it is final if that fails too.

    `_next` decides after each event: an answer came, a session became due, or the pace allows another request. There is
    no polling loop, so an idle run costs nothing.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        ask: Callable[[str, bool], Awaitable[Answer]],
        log: ResponseLog,
        limits: Limits,
        url: str,
        clock: Callable[[], int],
        on_progress: Callable[[Progress], None],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._check = check
        self._interpret = endpoint.interpret
        self._ask = ask
        self._log = log
        self._limits = limits
        self._url = url
        self._clock = clock
        self._on_progress = on_progress
        self._pace = Pace(limits.rate_ceiling)
        self._tasks: set[asyncio.Task[None]] = set()
        self._in_flight = 0
        self._timer: asyncio.TimerHandle | None = None
        self._log_has_some = asyncio.Event()
        self._log_is_full = asyncio.Event()
        self._writing: asyncio.Future[None] | None = None
        self._to_confirm: deque[int] = deque()
        self._unconfirmed: set[int] = set()
        self._postponed: dict[int, float] = {}  # session to the end of a Retry-After beyond the poll budget

    async def run(self, schedule: Schedule) -> Progress:
        """Polls every session of the schedule. Received answers are on disk when this returns or raises.

        Raises ApiRefusedError and ApiUnreachableError (see `refusals`), StoreError if the disk accepts
        no more data, and PollingInterruptedError.
        """
        loop = asyncio.get_running_loop()
        self._loop = loop
        self._ended: asyncio.Future[Exit] = loop.create_future()
        self._schedule = schedule
        self._progress = Progress(total=len(schedule.sessions))
        self._started = loop.time()
        self._deadline = self._started + self._limits.poll_budget
        self._watch = Watch(self._url, self._started)
        schedule.start(self._started, self._clock() / MICROSECONDS)
        writer = asyncio.create_task(self._write_regularly())
        try:
            self._report()
            self._fill()
            self._progress.exit = await self._ended
            self._note_waiting()
            self._watch.check_reached()
        finally:
            self._arm(None)
            await _cancel(writer, *self._tasks)
            if self._writing:
                await self._writing
            self._log.write(self._log.take())
            self._report()
        return self._progress

    def _note_waiting(self) -> None:
        now = self._loop.time()
        for position, until in self._postponed.items():
            if until > now:
                self._progress.waiting[self._schedule.session_id(position)] = self._wall(until, now)

    def stop(self, signal_number: int) -> None:
        """Ends the run: sends no more requests, cancels those in flight, stores received answers."""
        self._fail(PollingInterruptedError(signal_number))

    def _fill(self) -> None:
        """Sends every request that may be sent now."""
        while (position := self._next()) is not None:
            task = self._loop.create_task(self._poll_in_turn(position))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _next(self) -> int | None:
        """The session to poll now; if none may be polled, None, and either a timer is set or the run has ended."""
        if self._ended.done() or self._in_flight >= self._limits.max_concurrency:
            return None
        if self._log.is_full:
            self._log_is_full.set()
            return None
        now = self._loop.time()
        may_go_at = now + self._pace.wait(now)
        at = may_go_at if self._to_confirm else max(self._schedule.next_at(now), may_go_at)
        if at > self._deadline or now >= self._deadline:
            if not self._in_flight:
                self._ended.set_result(self._exit(now, may_go_at))
            return None
        if at > now:
            self._arm(at)
            return None
        try:
            self._check()
        except PipelineError as error:
            self._fail(error)
            return None
        self._pace.sent(now)
        self._in_flight += 1
        self._progress.requests += 1
        return self._to_confirm.popleft() if self._to_confirm else self._schedule.pop(now)

    def _exit(self, now: float, may_go_at: float) -> Exit:
        """The reason for the end of the run, when no request is in flight."""
        if not self._to_confirm and not len(self._schedule):
            return Exit.ALL_FINAL
        if not self._postponed or now >= self._deadline:
            return Exit.BUDGET_USED
        if may_go_at > self._deadline and may_go_at >= min(self._postponed.values()) - 1.0:
            self._progress.wait_until = self._wall(may_go_at, now)
            return Exit.ASKED_TO_WAIT
        return Exit.SESSIONS_WAIT

    def _wall(self, at: float, now: float) -> datetime:
        return datetime.fromtimestamp(self._clock() / MICROSECONDS + at - now, UTC)

    def _arm(self, at: float | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._fill) if at is not None else None

    async def _poll_in_turn(self, position: int | None) -> None:
        try:
            while position is not None:
                await self._poll(position)
                self._in_flight -= 1
                position = self._next()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)

    async def _poll(self, position: int) -> None:
        session_id = self._schedule.session_id(position)
        confirms = position in self._unconfirmed
        asked_at, requested_at = self._loop.time(), self._clock()
        answer = await self._ask(session_id, confirms)
        now, received_at = self._loop.time(), self._clock()
        meaning = self._interpret(session_id, answer, confirms)
        wait = None if meaning.outcome.is_final else retry_after(answer, received_at / MICROSECONDS)
        if wait is not None and wait > LONGEST_WAIT:
            wait, meaning = WAIT_INSTEAD, with_implausible_wait(meaning, answer)
        self._log.append(
            Response(
                session_id,
                requested_at,
                received_at,
                answer.status,
                answer.headers.get("content-type"),
                answer.body,
                meaning.outcome.value,
                meaning.detail,
                meaning.has_repeated_keys,
            )
        )
        self._log_has_some.set()
        self._progress.outcomes[meaning.outcome] += 1
        self._watch.see(session_id, answer, meaning, now)
        is_beyond = wait is not None and now + wait > self._deadline
        if answer.status == 429 or is_beyond:
            # A Retry-After beyond the budget pauses the whole run, unless other sessions are served meanwhile.
            self._pace.refused(asked_at, now, wait)
        elif answer.status is None:
            self._pace.lost()
        elif self._pace.accepted(asked_at):
            # The timer is set for the planned end of the pause, so fill the free slots now.
            self._loop.call_soon(self._fill)
        if is_beyond and wait is not None:
            self._postponed[position] = now + wait
        self._reschedule(position, meaning.outcome, answer.status, now, now - asked_at, wait)

    def _reschedule(
        self, position: int, outcome: Outcome, status: int | None, now: float, took: float, wait: float | None
    ) -> None:
        """Returns a session without a final answer to the schedule, or to the failures to confirm."""
        if outcome.is_final:
            return
        if outcome is Outcome.UNCONFIRMED:
            self._unconfirmed.add(position)
            if wait is None:
                self._to_confirm.append(position)
                return
        elif outcome is Outcome.PENDING:
            self._unconfirmed.discard(position)
        if status == 429 and wait is not None:
            self._schedule.refused(position, now, wait)
            return
        pending_after = took if outcome is Outcome.PENDING else None
        self._schedule.again(position, now, at_least=wait or 0.0, pending_after=pending_after)

    async def _write_regularly(self) -> None:
        last_report = -REPORT_EVERY
        while True:
            await self._log_has_some.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WRITE_EVERY):
                    await self._log_is_full.wait()
            self._log_has_some.clear()
            self._log_is_full.clear()
            self._writing = asyncio.ensure_future(asyncio.to_thread(self._log.write, self._log.take()))
            self._fill()
            try:
                # Shielded: a running write must end before the last one, however the run stops.
                await asyncio.shield(self._writing)
            except StoreError as error:
                self._fail(error)
                return
            if self._loop.time() - last_report >= REPORT_EVERY:
                last_report = self._loop.time()
                self._report()

    def _report(self) -> None:
        self._progress.seconds = self._loop.time() - self._started
        self._on_progress(self._progress)


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
