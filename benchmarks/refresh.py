"""Cost of a refresh from the shell, and the time from a file to its published answer. Takes about half an hour.

Commands are measured as users start them, each in a process of its own, on a data directory with 6,000 sessions of the
last month, against a server that answers at once. The baseline of the first table is Dagster's own command with one
asset that does nothing, in a DAGSTER_HOME with the same configuration. The baseline of the second table is dlt, which
polls and loads the same sessions (`dlt_pipeline.py`), once with its default file format and once with Parquet, its
fastest. Each round measures everything once, and ratios are medians of the rounds.

dlt is measured if `DLT_PYTHON` names a Python interpreter with dlt, in an environment of its own:

    python3 -m venv build/dlt && build/dlt/bin/pip install --require-hashes -r benchmarks/dlt-requirements.txt
    DLT_PYTHON=build/dlt/bin/python .venv/bin/python -m benchmarks.refresh

The time from file to answer begins when a file is renamed into the inbox and ends when the published file has the
session as fulfilled, while `dagster dev` runs. Files arrive at times spread evenly between two ticks of the sensor.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import duckdb
from rich.console import Console
from rich.table import Table

from benchmarks.status_server import PATH, capacity, serve, write_submissions
from pipeline.settings import PROJECT_ROOT

HISTORY = 6_000  # sessions of the last 30 days
SCRIPTS = Path(sys.executable).parent
REFRESH = [str(SCRIPTS / "dagster"), "job", "execute", "-m", "pipeline.definitions", "-j", "refresh"]
OWN_REFRESH = [str(SCRIPTS / "phygitals"), "refresh"]
TRIVIAL = [str(SCRIPTS / "dagster"), "job", "execute", "-m", "benchmarks.trivial_asset", "-j", "trivial"]
COMMANDS = {"dagster job execute": REFRESH, "phygitals refresh": OWN_REFRESH}
TRIVIAL_NAME = "one trivial asset"
DLT_PYTHON = os.environ.get("DLT_PYTHON")
DLT_FORMATS = {"dlt": [], "dlt, Parquet": ["parquet"]}
TICK = 5.0  # seconds between two ticks of the inbox sensor
NOT_PUBLISHED_AFTER = 300.0  # seconds
BETWEEN_LOOKS = 0.05  # seconds


class Cost(NamedTuple):
    """A command's cost: seconds, seconds of processor time, and peak memory of its largest process in bytes."""

    seconds: float
    cpu: float
    peak: int


@dataclass
class Place:
    """A DAGSTER_HOME and a data directory below one folder, and the server to poll."""

    folder: Path
    port: int
    rng: random.Random
    environment: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.data = self.folder / "data"
        home = self.folder / "dagster_home"
        home.mkdir(parents=True)
        shutil.copy(PROJECT_ROOT / "dagster_home" / "dagster.yaml", home)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PHYGITALS_")},
            "DAGSTER_HOME": str(home),
            "PHYGITALS_ENV": "local",
            "PHYGITALS_API_URL": f"http://127.0.0.1:{self.port}",
            "PHYGITALS_DATA_DIR": str(self.data),
            "PHYGITALS_MAX_CONCURRENCY": "100",
            "PHYGITALS_POLL_BUDGET": "3600",
        }
        self.cost([str(SCRIPTS / "dagster"), "instance", "migrate"])

    def with_history(self) -> Place:
        self.cost([str(SCRIPTS / "phygitals"), "simulate", "--submissions", str(HISTORY)])
        self.cost(REFRESH)
        return self

    def cost(self, command: list[str]) -> Cost:
        """Runs the command to its end. If it fails, exits with its output."""
        log = self.folder / "last-command.log"
        started = time.perf_counter()
        with started_process(command, self.environment, log) as process:
            _, status, used = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{log.read_text(errors='replace')[-5_000:]}")
        # A process's peak includes this parent's memory, which is smaller than that of any refresh.
        return Cost(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * (1 if sys.platform == "darwin" else 1024))

    def drop(self, count: int, is_fulfilled: bool = False) -> tuple[Path, str]:
        """Moves a complete file of new sessions into the inbox. Returns the file and its first session."""
        inbox = self.data / "inbox"
        beside = self.folder / "being-written.csv"
        first, *_ = write_submissions(beside, self.rng, count, is_fulfilled)
        return beside.rename(inbox / f"{first}.csv"), first


@contextlib.contextmanager
def started_process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a process group of its own. The end of the block kills the whole group."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=PROJECT_ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


Rounds = dict[tuple[str, str], list[Cost]]  # by load and command


def rounds(place: Place, trivial: Place, count: int, sessions: int) -> Rounds:
    """Measures everything once per round, so that other load of the machine affects all commands equally."""
    found: Rounds = {}
    url = place.environment["PHYGITALS_API_URL"] + PATH
    many = f"{sessions:,} new sessions"
    for _ in range(count):
        found.setdefault(("", TRIVIAL_NAME), []).append(trivial.cost(TRIVIAL))
        for load, new in (("nothing new", 0), ("one new session", 1), (many, sessions)):
            for name, command in COMMANDS.items():
                dropped = place.drop(new)[0] if new else None
                found.setdefault((load, name), []).append(place.cost(command))
        for name, file_format in DLT_FORMATS.items() if DLT_PYTHON else ():
            with tempfile.TemporaryDirectory(dir=place.folder) as folder:
                script = str(PROJECT_ROOT / "benchmarks" / "dlt_pipeline.py")
                command = [str(DLT_PYTHON), script, url, str(dropped), folder, *file_format]
                found.setdefault((many, name), []).append(place.cost(command))
    return found


def ratio(these: list[Cost], those: list[Cost], figure: str = "seconds") -> float:
    return float(statistics.median(getattr(a, figure) / getattr(b, figure) for a, b in zip(these, those, strict=True)))


def beside_dagster(found: Rounds) -> Table:
    """The cost of each load beside that of the trivial asset."""
    table = Table(title="A refresh, beside Dagster's command with one trivial asset")
    for name in ("new", "command", "s, median", "s, least", "of trivial", "CPU s", "of trivial", "peak MB"):
        table.add_column(name, justify="left" if name in ("new", "command") else "right")
    trivial = found["", TRIVIAL_NAME]
    for (load, name), costs in found.items():
        if name in DLT_FORMATS:
            continue
        seconds = [cost.seconds for cost in costs]
        figures = (f"{statistics.median(seconds):.2f}", f"{min(seconds):.2f}", f"{ratio(costs, trivial):.2f}")
        used = (f"{statistics.median(cost.cpu for cost in costs):.1f}", f"{ratio(costs, trivial, 'cpu'):.2f}")
        # The trivial process is smaller than this parent, so its reported peak would be the parent's.
        peak = f"{max(cost.peak for cost in costs) / 1e6:,.0f}" if load else ""
        table.add_row(load, name, *figures, *used, peak)
    return table


def beside_dlt(found: Rounds, sessions: int) -> Table:
    table = Table(title=f"{sessions:,} new sessions, beside dlt")
    for name in ("command", "s, median", "sessions/s", *(f"rate of {dlt}" for dlt in DLT_FORMATS), "CPU s", "peak MB"):
        table.add_column(name, justify="left" if name == "command" else "right")
    many = f"{sessions:,} new sessions"
    for name in (*COMMANDS, *DLT_FORMATS):
        if (costs := found.get((many, name))) is None:
            table.add_row(name, "not installed")
            continue
        median = statistics.median(cost.seconds for cost in costs)
        rates = [f"{ratio(found[many, dlt], costs):.2f}" if DLT_PYTHON else "-" for dlt in DLT_FORMATS]
        used = f"{statistics.median(cost.cpu for cost in costs):.1f}"
        peak = f"{max(cost.peak for cost in costs) / 1e6:,.0f}"
        table.add_row(name, f"{median:.1f}", f"{sessions / median:,.0f}", *rates, used, peak)
    return table


def memory(place: Place, sizes: tuple[int, ...]) -> Table:
    """Peak memory of refreshes by their number of new sessions, one after the other on the same data."""
    table = Table(title="Peak memory of the largest process of a refresh")
    for name in ("new sessions", "s", "sessions/s", "peak MB"):
        table.add_column(name, justify="right")
    for size in sizes:
        place.drop(size)
        cost = place.cost(REFRESH)
        table.add_row(f"{size:,}", f"{cost.seconds:.0f}", f"{size / cost.seconds:,.0f}", f"{cost.peak / 1e6:,.0f}")
    return table


def file_to_answer(place: Place, files: int) -> Table:
    """Seconds from file to answer. The first file shows that all processes are up, and does not count."""
    offsets = [TICK * i / files for i in range(files)]
    place.rng.shuffle(offsets)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(SCRIPTS / "dagster"), "dev", "-h", "127.0.0.1", "-p", str(port)]
    taken = []
    with started_process(command, place.environment, place.folder / "dagster-dev.log") as server:
        try:
            until_published(place)
            for offset in offsets:
                time.sleep(TICK + offset)
                taken.append(until_published(place))
        finally:
            server.terminate()  # lets it end its own processes; the rest of the group is killed later
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(30)
    table = Table(title=f"From file to answer while `dagster dev` runs, {files} files")
    for name in ("s, median", "s, least", "s, worst"):
        table.add_column(name, justify="right")
    table.add_row(*(f"{figure:.1f}" for figure in (statistics.median(taken), min(taken), max(taken))))
    return table


def until_published(place: Place) -> float:
    """Drops a file with one session. Returns the seconds until the published file has the session as fulfilled."""
    published = place.data / "phygitals.duckdb"
    _, session_id = place.drop(1, is_fulfilled=True)
    started = time.perf_counter()
    seen = None
    while time.perf_counter() < started + NOT_PUBLISHED_AFTER:
        stamp = published.stat().st_mtime_ns
        if stamp != seen:
            seen = stamp
            with duckdb.connect(published, read_only=True) as connection:
                found = connection.execute("SELECT status FROM purchases WHERE session_id = ?", [session_id]).fetchone()
            if found == ("fulfilled",):
                return time.perf_counter() - started
        time.sleep(BETWEEN_LOOKS)
    sys.exit(f"session {session_id} was not published within {NOT_PUBLISHED_AFTER:g} s: see the logs in {place.folder}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of a refresh. 0 omits a part.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sessions", type=int, default=20_000, help="new sessions of a large refresh")
    parser.add_argument(
        "--most-sessions", type=int, default=200_000, help="new sessions of the refresh whose peak memory is measured"
    )
    parser.add_argument("--files", type=int, default=10, help="files of the measurement from file to answer")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that no process is left running
    console = Console(width=110)
    port: multiprocessing.Queue[int] = multiprocessing.Queue()
    server = multiprocessing.Process(target=serve, args=(port,), daemon=True)
    server.start()
    number, rng = port.get(), random.Random(20_261)
    console.print(f"The server answers {capacity(number):,.0f} requests a second at most.")
    with tempfile.TemporaryDirectory() as folder:
        if asked.rounds:
            place = Place(Path(folder, "rounds"), number, rng).with_history()
            found = rounds(place, Place(Path(folder, "trivial"), number, rng), asked.rounds, asked.sessions)
            console.print(beside_dagster(found))
            console.print(beside_dlt(found, asked.sessions))
        if asked.files:
            console.print(file_to_answer(Place(Path(folder, "dev"), number, rng).with_history(), asked.files))
        if asked.most_sessions:
            place = Place(Path(folder, "memory"), number, rng).with_history()
            console.print(memory(place, (asked.sessions, asked.most_sessions)))
    server.kill()


if __name__ == "__main__":
    main()
