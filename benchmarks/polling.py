"""Resolved sessions per second and peak memory of polling, beside common clients in the same run.

The server answers at once and runs in a process of its own. All clients poll the same sessions with the same number of
requests in flight. `of bare` is the share of a bare aiohttp loop's speed in the same round, as the median of the
rounds; compare these ratios rather than absolute speeds. The tables of `pace.py` follow. Takes about twenty minutes.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import httpx
from aiohttp import web
from rich.console import Console
from rich.table import Table

from benchmarks import pace
from pipeline.polling.client import StatusClient
from pipeline.polling.endpoint import BUY_STATUS
from pipeline.polling.engine import Engine, Limits
from pipeline.polling.pending import PendingSessions
from pipeline.polling.schedule import Schedule
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.simulator import catalogue
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.raw_log import ResponseLog

SESSIONS = 20_000
CONCURRENCY = (50, 500, 2_000)
SLOW_SESSIONS = 600  # for httpx on its own transport, which is slow with many requests in flight
ROUNDS = 3
MEMORY_SESSIONS = (10_000, 100_000, 1_000_000)
MEMORY_CONCURRENCY = 100


def serve(port: multiprocessing.Queue[int]) -> None:
    template = json.dumps({"result": {**catalogue.session(1, "@", False).result, "session_id": "@"}})

    async def answer(request: web.Request) -> web.Response:
        session_id = (await request.json())["session_id"]
        return web.Response(text=template.replace("@", session_id), content_type="application/json")

    async def run() -> None:
        application = web.Application()
        application.router.add_post("/status", answer)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
        port.put(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())


async def ask_all(ask: Callable[[str], Awaitable[object]], count: int, concurrency: int) -> None:
    ids = iter(range(count))

    async def worker() -> None:
        for i in ids:
            await ask(f"session-{i}")

    await asyncio.gather(*(worker() for _ in range(concurrency)))


async def bare_aiohttp(url: str, count: int, concurrency: int) -> None:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask(session_id: str) -> object:
            async with session.post(url, json={"session_id": session_id}) as response:
                return json.loads(await response.read())

        await ask_all(ask, count, concurrency)


async def default_httpx(url: str, count: int, concurrency: int) -> None:
    limits = httpx.Limits(max_connections=concurrency)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:

        async def ask(session_id: str) -> object:
            return (await client.post(url, json={"session_id": session_id})).json()

        await ask_all(ask, count, concurrency)


async def engine(url: str, count: int, concurrency: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = ResponseLog(DataDirectory(Path(folder)), STATUS_RESPONSES, datetime.now(UTC))
        sessions = PendingSessions.of((f"session-{i}" for i in range(count)), time.time())
        async with StatusClient(BUY_STATUS, url, "key", 30) as client:
            limits = Limits(concurrency, 0, 600, 2)
            run = Engine(BUY_STATUS, client.ask, log, limits, url, lambda: time.time_ns() // 1000, lambda _: None)
            progress = await run.run(Schedule(sessions, limits.poll_interval, random.Random(1)))
        assert progress.fulfilled == count
        log.close()


def measure(
    run: Callable[[str, int, int], Awaitable[None]], url: str, count: int, concurrency: int
) -> tuple[float, float]:
    """Sessions per second, and milliseconds of processor time per session."""
    started, used = time.perf_counter(), time.process_time()
    asyncio.run(run(url, count, concurrency))  # type: ignore[arg-type]
    return count / (time.perf_counter() - started), 1000 * (time.process_time() - used) / count


def throughput(url: str) -> Table:
    table = Table(title=f"{SESSIONS:,} sessions against a server that answers at once, median of {ROUNDS} rounds")
    for name in ("in flight", "client", "sessions/s", "of bare", "CPU ms/session"):
        table.add_column(name, justify="right")
    clients = {"bare aiohttp": bare_aiohttp, "this engine": engine, "httpx, own transport": default_httpx}
    for concurrency in CONCURRENCY:
        results: dict[str, list[tuple[float, float, float]]] = {name: [] for name in clients}
        for _ in range(ROUNDS):
            bare = 0.0
            for name, client in clients.items():
                count = SLOW_SESSIONS if client is default_httpx else SESSIONS
                rate, cpu = measure(client, url, count, concurrency)
                bare = bare or rate
                results[name].append((rate, rate / bare, cpu))
        for name, rounds in results.items():
            rate, share, cpu = (statistics.median(column) for column in zip(*rounds, strict=True))
            table.add_row(str(concurrency), name, f"{rate:,.0f}", f"{share:.2f}", f"{cpu:.2f}")
        table.add_section()
    return table


def peak_memory(url: str, count: int, result: multiprocessing.Queue[float]) -> None:
    allow_many_connections()
    asyncio.run(engine(url, count, MEMORY_CONCURRENCY))
    # Not ru_maxrss, which includes memory of the parent process.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    result.put(int(status.split("VmHWM:")[1].split()[0]) / 1024)


def memory(url: str) -> Table:
    table = Table(title=f"Peak memory of a polling process, {MEMORY_CONCURRENCY} in flight")
    for name in ("sessions", "MiB"):
        table.add_column(name, justify="right")
    fresh = multiprocessing.get_context("spawn")  # a fork would inherit this process's memory
    for count in MEMORY_SESSIONS:
        result = fresh.Queue()
        process = fresh.Process(target=peak_memory, args=(url, count, result))
        process.start()
        table.add_row(f"{count:,}", f"{result.get():.0f}")
        process.join()
    return table


def allow_many_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))


def main() -> None:
    allow_many_connections()
    port: multiprocessing.Queue[int] = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(port,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{port.get()}/status"
    console = Console(width=100)
    console.print(throughput(url))
    console.print(memory(url))
    server.kill()
    pace.main()


if __name__ == "__main__":
    main()
