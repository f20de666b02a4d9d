"""One run of polling over HTTP: client, engine and raw log together."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from pipeline.lake.directory import DataDirectory
from pipeline.lake.response_log import ResponseLog
from pipeline.polling.client import StatusClient
from pipeline.polling.engine import Engine, Limits, Progress
from pipeline.settings import Settings


def poll(
    data: DataDirectory,
    settings: Settings,
    url: str,
    session_ids: Sequence[str],
    on_progress: Callable[[Progress], None],
) -> Progress:
    """Asks the sessions at `url` until the run ends, and seals what came into raw. Needs the directory's lock.

    Raises what `Engine.run` raises; what came before is kept then, too.
    """
    if not session_ids:
        return Progress(total=0)
    limits = Limits(settings.max_concurrency, settings.rate_ceiling, settings.poll_budget, settings.poll_interval)
    log = ResponseLog(data, _now())

    async def run() -> Progress:
        async with StatusClient(url, settings.secret, settings.request_timeout) as client:
            # Jitter spreads requests; it guards nothing.
            rng = random.Random()  # noqa: S311
            return await Engine(client.ask, log, limits, url, _now, rng, on_progress).run(session_ids)

    try:
        return asyncio.run(run())
    finally:
        log.close()


def _now() -> datetime:
    return datetime.now(UTC)
