"""Runs that died with their process, told from those that live by the data directory's lock.

A run killed with its whole machine, or started from a shell and killed, stays "started" for Dagster, which
then starts no other. Every run that writes holds the lock, so while the lock is free none of them lives.
"""

from __future__ import annotations

import dagster as dg

from pipeline.lake.directory import DataDirectory
from pipeline.workspace import now

_SILENT_FOR = 120.0  # seconds without an event; a run that has just started, or only reads, holds no lock
_WORDS = (
    "The process of this run is gone; what it had received is kept. The daemon starts it again by itself, twice at "
    "most; if it dies again, look at the machine: its memory, its disk, who restarts it."
)
_UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def fail_dead_runs(instance: dg.DagsterInstance, data: DataDirectory) -> list[str]:
    """Reports as failed the runs whose process is gone; returns their ids."""
    if data.is_being_written():
        return []
    dead = [run for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)) if _is_silent(instance, run.run_id)]
    for run in dead:
        instance.report_run_failed(run, _WORDS)
    return [run.run_id for run in dead]


def _is_silent(instance: dg.DagsterInstance, run_id: str) -> bool:
    latest = instance.get_records_for_run(run_id, limit=1, ascending=False).records
    return not latest or now().timestamp() - latest[0].timestamp > _SILENT_FOR
