"""Runs that died with their process, told from those that live by the data directory's lock.

A run killed with its whole machine, or started from a shell and killed, stays "started" for Dagster, which
then starts no other. Every run that writes is tagged with its data directory and holds the lock of it, so while the
lock is free it does not live. Runs of several data directories may be recorded side by side.
"""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from pipeline.clock import now
from pipeline.storage.data_directory import DataDirectory

DATA_DIRECTORY = "data_directory"  # the tag of a run that has taken the lock
_SILENT_FOR = 120.0  # seconds without an event, as after the lock was given back
_SILENT_WITHOUT_LOCK_FOR = 3_600.0  # a run without the tag died before it wrote, or only reads, or prunes
_GONE = "The process of this run is gone; what it had received is kept. "
_BY_DAEMON = "The daemon starts it again by itself, twice at most; if"
_FROM_SHELL = "Run `phygitals refresh` once more; if"
_LOOK = " it dies again, look at the machine: its memory, its disk, who restarts it."
_UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def fail_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Reports as failed the runs whose process is gone; returns their ids."""
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
        return False  # another user's; whoever runs as that user can tell
    latest = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
    silent_for = _SILENT_FOR if directory else _SILENT_WITHOUT_LOCK_FOR
    return not latest or now().timestamp() - latest[0].timestamp > silent_for
