"""Detects dead runs by the lock of their data directory.

If a run is killed with its machine, or was started from a shell, Dagster keeps it as "started" and starts no other run.
Every writing run has a tag with its data directory and holds the directory's lock, so a free lock means that the run is
dead. For a lake in an object store the lease counts as well, whichever machine has it; a run that left its lease to end
is dead at once. Runs of several data directories may share one history.
"""

from __future__ import annotations

import time
from pathlib import Path

import dagster as dg

from pipeline.clock import now
from pipeline.errors import PipelineError
from pipeline.orchestration.command_line_runs import is_retried
from pipeline.orchestration.run_history import DATA_DIRECTORY, LAKE_URL, LEASE_HOLDER
from pipeline.storage.data_directory import DataDirectory

_SILENT_FOR = 120.0  # seconds without an event; a run has some work after it releases the lock
_SILENT_WITHOUT_LOCK_FOR = 3_600.0  # seconds; a run without the tag has not written yet, only reads, or prunes
_LEASE_LOOK_SECONDS = 2.0
_DIED = "The process of this run died; received answers are kept. "
_BY_DAEMON = "The daemon retries the run up to twice; if"
_FROM_SHELL = "Run `phygitals refresh` again; if"
_CHECK_MACHINE = " it dies again, check the machine's memory, its disk and its restarts."
_UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def fail_dead_runs(instance: dg.DagsterInstance) -> list[str]:
    """Marks dead runs as failed and returns their ids."""
    dead = [run for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)) if _is_dead(instance, run)]
    for run in dead:
        retry = _BY_DAEMON if is_retried(run) else _FROM_SHELL
        instance.report_run_failed(run, _DIED + retry + _CHECK_MACHINE)
    return [run.run_id for run in dead]


def await_lease(data: DataDirectory) -> None:
    """Waits while the lease of a lake is held, for as long as the lease of a dead run can last.

    A retry would otherwise be refused: Dagster notices the death of a run before its lease ends. Raises StoreError.
    """
    if data.lake_url is None:
        return
    from pipeline.storage.lease import TIME_TO_LIVE  # local use does not pay for its import

    until = time.monotonic() + TIME_TO_LIVE + _LEASE_LOOK_SECONDS
    while data.is_being_written() and time.monotonic() < until:
        time.sleep(_LEASE_LOOK_SECONDS)


def _is_dead(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    directory = None if _has_tags_of_former(instance, run) else run.tags.get(DATA_DIRECTORY)
    try:
        if directory:
            data = DataDirectory(Path(directory), run.tags.get(LAKE_URL))
            holder = run.tags.get(LEASE_HOLDER)
            if holder and data.was_abandoned_by(holder):
                return True
            if data.is_being_written():
                return False
    except (PermissionError, PipelineError):
        return False  # another user's directory, or an object store that is away: the lock cannot be examined
    latest = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
    silent_for = _SILENT_FOR if directory else _SILENT_WITHOUT_LOCK_FOR
    return not latest or now().timestamp() - latest[0].timestamp > silent_for


def _has_tags_of_former(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether the run retries another and has not taken the lease: Dagster gives a retry the tags of the dead run."""
    holder, former = run.tags.get(LEASE_HOLDER), run.parent_run_id
    retried = instance.get_run_by_id(former) if holder and former else None
    return retried is not None and retried.tags.get(LEASE_HOLDER) == holder
