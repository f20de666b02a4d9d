"""One polling run over HTTP: client, engine, raw log and the handling of signals."""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pipeline.errors import PipelineError
from pipeline.polling.client import StatusClient
from pipeline.polling.completion_law import CompletionLaw
from pipeline.polling.endpoint import Endpoint
from pipeline.polling.engine import Engine, Limits, PollingInterruptedError
from pipeline.polling.pending import PendingSessions
from pipeline.polling.progress import Progress
from pipeline.polling.schedule import Schedule
from pipeline.settings import Settings
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.raw_log import ResponseLog

_STOPPING = (signal.SIGINT, signal.SIGTERM)
_OTHER_FILES = 256


class TooManyConnectionsError(PipelineError):
    """The system limits this process to fewer connections than the settings require."""


def poll(
    data: DataDirectory,
    settings: Settings,
    endpoint: Endpoint,
    url: str,
    sessions: PendingSessions,
    on_progress: Callable[[Progress], None],
    law: CompletionLaw | None = None,
    check: Callable[[], None] = lambda: None,
) -> Progress:
    """Polls the sessions at `url` until the run ends, then seals the journal. Needs the directory's lock.

    `law` is the distribution of completion times; None if none was learned. `check` raises a PipelineError once the run
    must not send requests any more; the lease is checked in any case.

    Raises TooManyConnectionsError and the errors of `Engine.run`; received answers are kept in any case.
    SIGINT and SIGTERM end the run in the same way and are then passed to their former handlers.
    """
    _raise_file_limit(settings.max_concurrency)
    limits = Limits(settings.max_concurrency, settings.rate_ceiling, settings.poll_budget, settings.poll_interval)
    log = ResponseLog(data, endpoint.table, datetime.now(UTC))

    def check_all() -> None:
        data.check_lease()
        check()

    async def run() -> Progress:
        async with StatusClient(endpoint, url, settings.secret, settings.request_timeout, room=log.room) as client:
            # Jitter spreads requests; it needs no cryptographic randomness.
            schedule = Schedule(sessions, limits.poll_interval, random.Random(), law)  # noqa: S311
            engine = Engine(endpoint, client.ask, log, limits, url, _microseconds, on_progress, check_all)
            if threading.current_thread() is threading.main_thread():
                for number in _STOPPING:
                    asyncio.get_running_loop().add_signal_handler(number, engine.stop, number)
            return await engine.run(schedule)

    with _signals_passed_on():
        try:
            return asyncio.run(run())
        finally:
            log.close()


@contextlib.contextmanager
def _signals_passed_on() -> Iterator[None]:
    """Restores the former signal handlers and delivers the signal that ended the block.

    Otherwise a handler that raises, such as Dagster's, could raise anywhere inside the event loop, where its error may
    be mistaken for a broken connection.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in _STOPPING}
    try:
        yield
    except PollingInterruptedError as interruption:
        _restore(handlers)
        signal.raise_signal(interruption.signal_number)
        raise
    finally:
        _restore(handlers)


def _raise_file_limit(count: int) -> None:
    """Raises this process's limit of open files for `count` connections, as far as the system allows.

    It doubles the count, since the bundled simulator has its ends of the connections in the same process. Raises
    TooManyConnectionsError.
    """
    needed = count + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise TooManyConnectionsError(
            f"PHYGITALS_MAX_CONCURRENCY={count} needs {needed} open files, but the system allows this process {hard}: "
            "lower the setting, or raise the limit with ulimit -n"
        )
    wanted = 2 * count + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _restore(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _microseconds() -> int:
    return time.time_ns() // 1000
