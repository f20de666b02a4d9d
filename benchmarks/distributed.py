"""Demonstration: the pipeline on two workers, one of which is lost with its disk in the middle of polling.

Run `make demo-distributed`. It starts everything on loopback: the simulator as the API, an S3 server, PostgreSQL with
the partner's table of purchases and Dagster's run history, Redis, Dagster's daemon and two Celery workers with separate
disks. A sensor finds the purchases and starts a refresh, which polls in two shards. The worker that runs the refresh is
killed and its disk deleted. The other worker takes over. At the end the tables are compared, row order included, with
those that a laptop builds from the same raw data.

Needs the extra `distributed`, and Redis and PostgreSQL from the system's packages.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import dagster as dg

from pipeline.settings import PROJECT_ROOT
from pipeline.steps import Workspace
from pipeline.storage.bucket import Bucket
from pipeline.storage.data_directory import DataDirectory
from tests.support import postgresql
from tests.support.lake import table_hashes
from tests.support.processes import free_port
from tests.support.s3 import CREDENTIALS, make_bucket

CEILING = 400  # requests per second
KEY = "demonstration-key-0123456789"
LAKE = "s3://demonstration/lake"
SCRIPTS = Path(sys.executable).parent
JOURNALS = "raw/status_responses/.journal"
_API = """
import signal, sys, time
from pipeline.simulator.server import Simulator
from pipeline.simulator.service import serve
log = open(sys.argv[1], "a", buffering=1)
def note(_request, session_id):
    log.write(f"{time.monotonic()} {session_id}\\n")
simulator = Simulator(delay_scale=0, hold=0, on_request=note)
simulator.key = sys.argv[2]
with serve(simulator) as url:
    print(url, flush=True)
    signal.pause()
"""
_S3_SERVER = """
import signal, sys
from tests.support.s3 import S3Server
with S3Server().serving(int(sys.argv[1])):
    signal.pause()
"""
_BETWEEN_LOOKS = 1.0  # seconds
_PATIENCE = 600.0  # seconds


class Requests:
    """The API's own log of requests: when each came, in seconds, and for which session."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def seen(self) -> list[tuple[float, str]]:
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [(float(at), session) for at, _, session in (line.partition(" ") for line in lines)]

    def busiest_second(self) -> int:
        """The most requests in any one second."""
        seen = self.seen()
        most = first = 0
        for last, (at, _) in enumerate(seen):
            while seen[first][0] <= at - 1:
                first += 1
            most = max(most, last - first + 1)
        return most


def say(line: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {line}", flush=True)


def wait_for(condition: Callable[[], object], what: str, alive: Iterable[subprocess.Popen[bytes]] = ()) -> None:
    """Returns when the condition holds. Ends the demonstration if it does not in ten minutes, or if a process ends."""
    deadline, watched = time.monotonic() + _PATIENCE, list(alive)
    while not condition():
        if any(one.poll() is not None for one in watched):
            sys.exit(f"a process ended, so this never came: {what}")
        if time.monotonic() > deadline:
            sys.exit(f"not within {_PATIENCE:.0f} s: {what}")
        time.sleep(_BETWEEN_LOOKS)


@contextlib.contextmanager
def process(*command: str | Path, log: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its descendants in a group of their own, which ends with the block."""
    with log.open("ab") as output:
        started = subprocess.Popen(
            [str(word) for word in command],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=PROJECT_ROOT,
            env={**os.environ, **variables},
        )
    try:
        yield started
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def is_listening(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def services(folder: Path, sessions: int) -> Iterator[None]:
    """Everything but Dagster, and the variables that lead to it."""
    with contextlib.ExitStack() as stack:
        # API and store are processes of their own, since the API's log has the times at which requests come.
        said = folder / "api.log"
        stack.enter_context(process(sys.executable, "-c", _API, folder / "requests.log", KEY, log=said))
        wait_for(lambda: said.exists() and said.read_text().startswith("http"), "the API")
        api = said.read_text().splitlines()[0]
        port = free_port()
        store = f"http://127.0.0.1:{port}"
        stack.enter_context(process(sys.executable, "-c", _S3_SERVER, str(port), log=folder / "s3.log"))
        wait_for(lambda: is_listening(port), "the S3 server")
        make_bucket(store, "demonstration")
        say(f"the API at {api}, the S3 server at {store}")
        cluster = stack.enter_context(postgresql.cluster())
        shop = postgresql.Shop(cluster)
        shop.empty()
        shop.add(*(f"session-{number}" for number in range(sessions)))
        with cluster.connect("postgres") as connection:
            connection.execute("CREATE DATABASE dagster")
        say(f"PostgreSQL at port {cluster.port}, with {sessions:,} purchases and the run history")
        redis = free_port()
        stack.enter_context(
            process("redis-server", "--port", str(redis), "--save", "", "--dir", folder, log=folder / "redis.log")
        )
        history = cluster.url(postgresql.OWNER, postgresql.OWNERS_PASSWORD, "dagster")
        os.environ.update(
            CREDENTIALS,
            AWS_ENDPOINT_URL=store,
            DAGSTER_HOME=str(home(folder)),
            DAGSTER_POSTGRES_URL=history.replace("postgresql:", "postgresql+psycopg2:"),
            DAGSTER_REDIS_URL=f"redis://127.0.0.1:{redis}/0",
            PHYGITALS_ENV="production",
            PHYGITALS_API_URL=api,
            PHYGITALS_API_KEY=KEY,
            PHYGITALS_DATA_DIR=str(folder / "daemon"),
            PHYGITALS_LAKE_URL=LAKE,
            PHYGITALS_SUBMISSIONS_URL=cluster.url(),
            PHYGITALS_SUBMISSIONS_QUERY=postgresql.Shop.QUERY,
            PHYGITALS_POLL_SHARDS="2",
            PHYGITALS_REQUESTS_PER_SECOND=str(CEILING),
        )
        yield


def home(folder: Path) -> Path:
    """A DAGSTER_HOME with the configuration for Celery workers, and room for the second shard in its queue."""
    made = folder / "dagster_home"
    made.mkdir()
    configuration = (PROJECT_ROOT / "deploy" / "distributed" / "dagster.yaml").read_text()
    (made / "dagster.yaml").write_text(configuration)
    return made


def worker(folder: Path, name: str) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    command = (SCRIPTS / "celery", "-A", "pipeline.orchestration.celery_worker", "worker", "--loglevel", "WARNING")
    node = ("--hostname", f"{name}@127.0.0.1")
    return process(*command, *node, log=folder / f"{name}.log", PHYGITALS_DATA_DIR=str(folder / name))


def refreshes(status: dg.DagsterRunStatus) -> list[str]:
    """The runs of the job `refresh` with a status."""
    with dg.DagsterInstance.get() as instance:
        return [run.run_id for run in instance.get_runs(dg.RunsFilter(job_name="refresh", statuses=[status]))]


def coordinator(folder: Path, names: tuple[str, ...]) -> str | None:
    """The worker that runs the refresh: it holds the lock of its working copy."""
    held = [name for name in names if (folder / name).is_dir() and holds_lock(folder / name)]
    return held[0] if held else None


def holds_lock(root: Path) -> bool:
    """Whether a process holds the lock of a working copy, wherever the lease is."""
    return DataDirectory(root).is_being_written()


def lose(folder: Path, name: str, lost: subprocess.Popen[bytes]) -> None:
    """Kills a worker with everything that it runs, and deletes its disk."""
    os.killpg(lost.pid, signal.SIGKILL)
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"PHYGITALS_DATA_DIR={folder / name}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)
    lost.wait()
    shutil.rmtree(folder / name, ignore_errors=True)


def equals_laptop(folder: Path) -> bool:
    """Whether the lake's tables equal those that a laptop builds from the same raw data."""
    reader = DataDirectory(folder / "reader", LAKE)
    bucket = Bucket(LAKE)
    laptop = folder / "laptop"
    for found in bucket.list("raw"):
        file = laptop / found.key
        file.parent.mkdir(parents=True, exist_ok=True)
        bucket.download(found.key, found.etag, file)
    del os.environ["PHYGITALS_LAKE_URL"]
    os.environ["PHYGITALS_DATA_DIR"] = str(laptop)
    workspace = Workspace.open()
    workspace.rebuild()
    ours, theirs = table_hashes(reader), table_hashes(workspace.data)
    for name in sorted(ours):
        if ours[name] != theirs[name]:
            say(f"{name} DIFFERS")
    return ours == theirs


def demonstrate(folder: Path, sessions: int) -> bool:
    """Runs the demonstration. Returns whether all that it promises came about."""
    requests = Requests(folder / "requests.log")
    with services(folder, sessions):
        killed_at, takeover = run_and_lose_a_worker(folder, sessions, requests)
        is_equal = equals_laptop(folder)
    seen, busiest = requests.seen(), requests.busiest_second()
    asked_before = {session for at, session in seen if at < killed_at - 2.0}
    again = [session for at, session in seen if at > killed_at and session in asked_before]
    say(f"sessions: {sessions:,}; requests: {len(seen):,}")
    say(f"sessions asked again though their answer was more than 2 s old: {len(again):,}")
    say(f"busiest second of the API's own log: {busiest} requests, with a ceiling of {CEILING}")
    say(f"takeover: {takeover:.0f} s")
    say(f"every table equals a laptop's, row order included: {'yes' if is_equal else 'NO'}")
    return is_equal and busiest <= CEILING


def run_and_lose_a_worker(folder: Path, sessions: int, requests: Requests) -> tuple[float, float]:
    """Runs a refresh to its end, with the loss of its worker in the middle.

    Returns the time of the loss, and the seconds until the next refresh began.
    """
    names, bucket = ("worker-1", "worker-2"), Bucket(LAKE)
    with contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(worker(folder, name)) for name in names}
        daemon = (SCRIPTS / "dagster-daemon", "run", "-m", "pipeline.definitions")
        scheduler = stack.enter_context(process(*daemon, log=folder / "daemon.log"))
        say(f"the daemon and two workers are starting; logs are in {folder}")
        wait_for(
            lambda: (
                len({found.key.split("/")[-2] for found in bucket.list(JOURNALS)}) == 2
                and len(requests.seen()) > sessions / 5
            ),
            "two shards that poll",
            [scheduler, *workers.values()],
        )
        lost = coordinator(folder, names)
        if lost is None:
            sys.exit("no worker runs the refresh")
        say(f"{len(requests.seen()):,} requests so far; killing {lost}, which runs the refresh, and deleting its disk")
        first = set(refreshes(dg.DagsterRunStatus.STARTED))
        lose(folder, lost, workers[lost])
        killed_at = time.monotonic()
        wait_for(lambda: set(refreshes(dg.DagsterRunStatus.STARTED)) - first, "the next refresh", [scheduler])
        takeover = time.monotonic() - killed_at
        say(f"the other worker runs a refresh, {takeover:.0f} s after the loss")
        wait_for(lambda: refreshes(dg.DagsterRunStatus.SUCCESS), "the end of the refresh", [scheduler])
        say("the refresh has ended")
    return killed_at, takeover


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=20_000)
    sessions = parser.parse_args().sessions
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that everything that was started ends as well
    for reason in (postgresql.missing(), None if shutil.which("redis-server") else "redis-server is not installed"):
        if reason:
            sys.exit(f"{reason} (on Debian: apt-get install redis-server postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="phygitals-distributed-"))
    is_good = demonstrate(folder, sessions)
    if is_good:
        shutil.rmtree(folder)
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
