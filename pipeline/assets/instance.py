"""Where runs are recorded."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from pipeline.settings import PROJECT_ROOT


def recorded_runs() -> dg.DagsterInstance:
    """The instance in DAGSTER_HOME, the project's own unless it is set. Use it as a context manager."""
    os.environ.setdefault("DAGSTER_HOME", str(PROJECT_ROOT / "dagster_home"))
    return dg.DagsterInstance.get()


@contextlib.contextmanager
def kept_open(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Keeps the SQLite files of the run's events open for the block; nothing where the history lies elsewhere.

    Dagster opens and closes them for each event, and SQLite writes its log back into a file, and waits for the disk,
    whenever the last connection to it is closed.
    """
    with contextlib.ExitStack() as held:
        for path in _event_files(instance, run_id):
            with contextlib.suppress(sqlite3.Error):  # without it, all goes on, only slower
                connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, check_same_thread=False)
                held.enter_context(contextlib.closing(connection))
                connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield


def _event_files(instance: dg.DagsterInstance, run_id: str) -> list[Path]:
    folder = Path(instance.root_directory) / "history" / "runs"
    return [path for path in (folder / "index.db", folder / f"{run_id}.db") if path.exists()]
