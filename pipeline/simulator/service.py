"""Runs the simulator on a loopback port, in a thread of this process that ends with it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from aiohttp import web

from pipeline.polling.client import STATUS_PATH
from pipeline.settings import Settings
from pipeline.simulator.server import Simulator

_T = TypeVar("_T")

_LOCAL_HOLD = 1.0  # seconds; shorter than the API's six, so that trying things out stays quick
_LOCAL_FAULT_RATE = 0.01


@contextlib.contextmanager
def serve(simulator: Simulator, port: int = 0) -> Iterator[str]:
    """Serves until the block ends; yields the base URL. Port 0 takes any free one."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="simulator", daemon=True)
    thread.start()

    def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    runner = web.AppRunner(simulator.application(), access_log=None, shutdown_timeout=0.1)

    async def start() -> int:
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, backlog=4096)
        await site.start()
        return int(runner.addresses[0][1])

    async def stop() -> None:
        await runner.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    try:
        yield f"http://127.0.0.1:{run(start())}"
    finally:
        run(stop())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextlib.contextmanager
def status_url(settings: Settings) -> Iterator[str]:
    """The URL of buy/status: the API's, or in `local` without a URL that of a simulator started for the block."""
    if settings.base_url is not None:
        yield settings.base_url + settings.api_prefix + STATUS_PATH
        return
    simulator = Simulator(prefix=settings.api_prefix, hold=_LOCAL_HOLD, fault_rate=_LOCAL_FAULT_RATE)
    with serve(simulator) as url:
        yield url + settings.api_prefix + STATUS_PATH
