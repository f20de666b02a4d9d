"""Detects dead runs by the lock of their data directory.

A run killed with its whole machine, or started from a shell and killed, stays "started" for Dagster, which
then starts no other. Every writing run is tagged with its data directory and holds its lock, so if the
lock is free the run is dead. Runs of several data directories may share one history.
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from pipeline.clock import now
from pipeline.storage.data_directory import DataDirectory

DATA_DIRECTORY = "data_directory"  # the tag of a run that took the lock
_SILENT_FOR = 120.0  # seconds without an event, as after the lock was given back
_SILENT_WITHOUT_LOCK_FOR = 3_600.0  # a run without the tag died before writing, only reads, or prunes
_GONE = "The process of this run is gone; its received answers are kept. "
_BY_DAEMON = "The daemon starts it again by itself, twice at most; if"
_FROM_SHELL = "Run `phygitals refresh` once more; if"
_LOOK = " it dies again, look at the machine: its memory, its disk, who restarts it."
_UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def fail_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Marks dead runs as failed and returns their ids."""
    dead = [run for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)) if _is_dead(instance, run)]
    for run in dead:
        instance.report_run_failed(run, _GONE + (_BY_DAEMON if run.remote_job_origin else _FROM_SHELL) + _LOOK)
    return [run.run_id for run in dead]


def _is_dead(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    directory = run.tags.get(DATA_DIRECTORY)
    try:
        if directory and DataDirectory(Path(directory)).is_being_written():
            return False
    except PermissionError:
        return False  # another user's directory; only that user can judge
    latest = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
    silent_for = _SILENT_FOR if directory else _SILENT_WITHOUT_LOCK_FOR
    return not latest or now().timestamp() - latest[0].timestamp > silent_for
