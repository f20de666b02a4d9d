"""Retention of the run history. Tables and raw data are not touched.

Dagster's own deletion removes a run from the lists and leaves its event log and compute logs. A removed run takes its
materializations and check results with it, so runs with the latest state of an asset or check are kept at any age.
"""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg

from pipeline.clock import now
from pipeline.orchestration.checks import ASSET_CHECKS
from pipeline.orchestration.definition_settings import SETTINGS
from pipeline.orchestration.instance import recorded_runs

_FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_BATCH = 20
_BUSY_SECONDS = 5.0  # time for which another process may lock the databases


@dataclass
class Pruned:
    """The counts of removed runs and of older runs that were kept."""

    keep_days: int
    runs: int = 0
    bytes: int = 0
    kept_for_assets: int = 0
    unfinished: int = 0

    @property
    def line(self) -> str:
        kept = f"kept {self.kept_for_assets:,} with the latest state of an asset"
        active = f", {self.unfinished:,} unfinished" if self.unfinished else ""
        return (
            f"removed {self.runs:,} runs older than {self.keep_days:,} days, {self.bytes / 1e6:,.1f} MB; {kept}{active}"
        )


def prune_history(keep_days: int, on_line: Callable[[str], None]) -> Pruned:
    """Prunes the instance in DAGSTER_HOME."""
    with recorded_runs() as instance:
        return prune(instance, keep_days, on_line)


def prune(instance: dg.DagsterInstance, keep_days: int, on_line: Callable[[str], None]) -> Pruned:
    """Removes runs that were created over `keep_days` days ago, with their files.

    Keeps unfinished runs, and runs with the latest materialization or check of an asset.
    """
    limit = now() - timedelta(days=keep_days)
    pruned = Pruned(keep_days, unfinished=_count_unfinished(instance, limit))
    needed = _needed_runs(instance)
    home = Path(instance.root_directory)
    size_before = _database_bytes(home)
    for run_id in _finished_before(instance, limit):
        if run_id in needed:
            pruned.kept_for_assets += 1
            continue
        instance.delete_run(run_id)
        pruned.bytes += _remove_files(home, run_id)
        pruned.runs += 1
        if pruned.runs % _BATCH == 0:
            on_line(f"removed {pruned.runs:,} runs so far")
    if pruned.runs:
        _shrink(home)
        pruned.bytes += max(0, size_before - _database_bytes(home))
    return pruned


def _finished_before(instance: dg.DagsterInstance, limit: datetime) -> list[str]:
    records = instance.get_run_records(dg.RunsFilter(statuses=_FINISHED, created_before=limit), ascending=True)
    return [record.dagster_run.run_id for record in records]


def _count_unfinished(instance: dg.DagsterInstance, limit: datetime) -> int:
    older = instance.get_run_records(dg.RunsFilter(created_before=limit))
    return sum(record.dagster_run.status not in _FINISHED for record in older)


def _needed_runs(instance: dg.DagsterInstance) -> set[str]:
    """The runs of the latest materialization of each asset, and of the latest evaluation of each check."""
    entries = (record.asset_entry for record in instance.get_asset_records())
    needed = {entry.last_materialization.run_id for entry in entries if entry.last_materialization}
    for key in (key for checks in ASSET_CHECKS for key in checks.check_keys):
        latest = instance.get_latest_asset_check_evaluation_record(key)
        if latest:
            needed.add(latest.run_id)
    return needed


def _remove_files(home: Path, run_id: str) -> int:
    """Removes the run's event log and compute logs, if stored as files; returns their size in bytes."""
    files = list((home / "history" / "runs").glob(f"{run_id}.db*"))
    logs = home / "storage" / run_id
    size = sum(path.stat().st_size for path in [*files, *logs.rglob("*")] if path.is_file())
    for path in files:
        path.unlink(missing_ok=True)
    shutil.rmtree(logs, ignore_errors=True)
    return size


def _databases(home: Path) -> list[Path]:
    return [home / "history" / "runs.db", home / "history" / "runs" / "index.db"]


def _database_bytes(home: Path) -> int:
    return sum(path.stat().st_size for path in _databases(home) if path.exists())


def _shrink(home: Path) -> None:
    """Deletes the check results of removed runs, which Dagster keeps, and returns free pages to the disk.

    Does nothing if another process writes for longer than `_BUSY_SECONDS`; the next pruning tries again.
    """
    runs, index = _databases(home)
    if not (runs.exists() and index.exists()):
        return
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(index, timeout=_BUSY_SECONDS)) as connection:
        connection.execute("ATTACH ? AS history", [str(runs)])
        with connection:
            connection.execute(
                "DELETE FROM asset_check_executions WHERE run_id NOT IN (SELECT run_id FROM history.runs)"
            )
        connection.execute("VACUUM main")
        connection.execute("VACUUM history")


@dg.op(description="Removes old runs, with their event logs and compute logs, from DAGSTER_HOME.")
def remove_old_runs(context: dg.OpExecutionContext) -> None:
    pruned = prune(context.instance, SETTINGS.keep_run_days, context.log.info)
    context.log.info(pruned.line)


@dg.job(
    description="Limits the size of the run history. Raw data and tables are not touched.",
    executor_def=dg.in_process_executor,
)
def prune_runs() -> None:
    remove_old_runs()


weekly_prune = dg.ScheduleDefinition(
    name="weekly_prune",
    job=prune_runs,
    cron_schedule="30 5 * * 0",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=(
        "Removes runs older than PHYGITALS_KEEP_RUN_DAYS on Sundays, as phygitals prune does. Keeps unfinished runs "
        "and runs with the latest state of an asset."
    ),
)
