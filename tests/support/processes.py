"""Real processes of a Dagster instance: started as the examples say, waited for, and counted to the last one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.settings import PROJECT_ROOT

_BETWEEN_LOOKS = 0.1  # seconds


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 240) -> None:
    """Returns as soon as the condition holds; after `seconds` the test fails with what did not come about."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(_BETWEEN_LOOKS)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_served(url: str) -> bool:
    """Whether a webserver answers there."""
    try:
        with urllib.request.urlopen(f"{url}/server_info", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def living(home: Path) -> list[str]:
    """The command lines of the processes that were started with this DAGSTER_HOME, and their descendants' too."""
    mark = f"DAGSTER_HOME={home}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


@contextlib.contextmanager
def started(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, as a service manager starts one. What is left of it is killed at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=PROJECT_ROOT, env=os.environ, start_new_session=True
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
