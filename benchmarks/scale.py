"""Cost of a refresh with the lake in an object store, and how it grows with the history and with the day.

Run `python -m benchmarks.scale` from the project's root; it needs the extra `distributed` and takes an hour.
`--days 10 300` sets other histories, `--held 10000 500000` other days, `--processes 1 4` other numbers of processes
that share a rebuild; without values, the part is left out.

A warm machine has refreshed before; a new one begins with an empty disk. Each adds the same number of new sessions and
their answers to today, updates all tables and publishes the last week. The baseline is the shortest history, measured
in the same run. The store is moto over HTTP on loopback, which has no latency of a network: compare requests and bytes,
not seconds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.growing_day import growth
from benchmarks.payloads import MIXES, SIMULATED, WITH_NUMBERS
from benchmarks.shared_rebuild import by_processes
from benchmarks.tables import NEW_SESSIONS, add_day, refresh_tables
from pipeline.storage.data_directory import DataDirectory
from tests.support.s3 import CREDENTIALS, Request, S3Server, make_bucket

SESSIONS_A_DAY = 20
HISTORIES = (10, 1_000)
PUBLISH_DAYS = 7  # the published file of the shortest history has as many days as that of the longest
HELD = (10_000, 2_000_000)  # sessions
PROCESSES = (1, 2)
REBUILT_DAYS = 30
MEBIBYTE = 2**20


class Cost(NamedTuple):
    """The requests and the bytes of one refresh, as the store saw them, and its seconds."""

    lists: int
    reads: int
    writes: int
    received: int
    sent: int
    seconds: float


def refreshed(server: S3Server, data: DataDirectory, day: int) -> Cost:
    """Adds a part of a day and refreshes all tables."""
    add_day(data, day, SESSIONS_A_DAY)
    server.requests.clear()
    started = time.perf_counter()
    refresh_tables(data, day, PUBLISH_DAYS)
    return cost_of(server.requests, time.perf_counter() - started)


def cost_of(requests: Iterable[Request], seconds: float) -> Cost:
    seen = list(requests)
    lists = [request for request in seen if "list-type" in request.path]
    reads = [request for request in seen if request.method in ("GET", "HEAD") and "list-type" not in request.path]
    return Cost(
        len(lists),
        len(reads),
        len(seen) - len(lists) - len(reads),
        sum(request.received for request in seen),
        sum(request.sent for request in seen),
        seconds,
    )


def measured(server: S3Server, url: str, folder: Path, days: int) -> dict[str, Cost]:
    """The costs with a history of so many days: on a warm machine, and on one with an empty disk."""
    bucket = f"history-{days}"
    make_bucket(url, bucket)
    lake = f"s3://{bucket}/lake"
    warm = DataDirectory(folder / bucket, lake)
    shutil.rmtree(warm.root, ignore_errors=True)
    warm.claim("local", "the bundled simulator")
    for day in range(days):
        add_day(warm, day, SESSIONS_A_DAY)
    refresh_tables(warm, days, PUBLISH_DAYS)
    costs = {"warm": refreshed(server, warm, days)}
    shutil.rmtree(warm.root)
    new = DataDirectory(folder / bucket, lake)
    new.claim("local", "the bundled simulator")
    costs["empty disk"] = refreshed(server, new, days + 1)
    return costs


def main() -> None:
    """Prints the costs by sessions of the day, by processes of a rebuild and by days of history, with ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, nargs="*", default=HISTORIES)
    parser.add_argument("--held", type=int, nargs="*", default=HELD)
    parser.add_argument("--processes", type=int, nargs="*", default=PROCESSES)
    parser.add_argument("--mixes", nargs="+", default=[SIMULATED, WITH_NUMBERS], choices=[*MIXES])
    chosen = parser.parse_args()
    console = Console(width=120)
    if chosen.held:
        with tempfile.TemporaryDirectory() as folder:
            console.print(growth(Path(folder), chosen.held, NEW_SESSIONS, chosen.mixes))
    if chosen.processes:
        with tempfile.TemporaryDirectory() as folder:
            console.print(by_processes(Path(folder), REBUILT_DAYS, NEW_SESSIONS, chosen.processes))
    if chosen.days:
        console.print(by_history(chosen.days))


def by_history(chosen: Sequence[int]) -> Table:
    """The costs by days of history, and the ratio of their requests to those of the shortest."""
    table = Table(title=f"One refresh with {SESSIONS_A_DAY} new sessions, by days of history")
    for heading in (
        "machine",
        "days",
        "listings",
        "reads",
        "writes",
        "MiB down",
        "MiB up",
        "seconds",
        "requests, ratio",
    ):
        table.add_column(heading, justify="right")
    server = S3Server()
    with server.serving() as url, tempfile.TemporaryDirectory() as folder:
        os.environ.update(CREDENTIALS, AWS_ENDPOINT_URL=url)
        costs = {days: measured(server, url, Path(folder), days) for days in chosen}
    for machine in ("warm", "empty disk"):
        baseline = sum(costs[chosen[0]][machine][:3])
        for days in chosen:
            cost = costs[days][machine]
            table.add_row(
                machine,
                f"{days:,}",
                *(f"{count:,}" for count in cost[:3]),
                f"{cost.received / MEBIBYTE:.2f}",
                f"{cost.sent / MEBIBYTE:.2f}",
                f"{cost.seconds:.1f}",
                f"{sum(cost[:3]) / baseline:.2f}",
            )
    return table


if __name__ == "__main__":
    main()
