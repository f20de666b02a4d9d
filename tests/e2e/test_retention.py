"""Pruning the run history: what goes, what asset pages still need, and what is never touched."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from pipeline.clock import now
from pipeline.definitions import defs
from pipeline.orchestration import retention
from pipeline.orchestration.checks import ASSET_CHECKS
from pipeline.orchestration.retention import Pruned, prune
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from tests.support.command_line import phygitals_here
from tests.support.workspace import drop


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.get() as instance:
        yield instance


@pytest.fixture
def in_forty_days(monkeypatch):
    monkeypatch.setattr(retention, "now", lambda: now() + timedelta(days=40))


# They stand for all: a whole run draws the report, too.
SOME_ASSETS = [
    dg.AssetKey(name) for name in ("session_submissions", "pending_sessions", "status_responses", "purchases")
]


def refreshed(instance: dg.DagsterInstance) -> str:
    """A real run of the job for some of its assets; returns its id."""
    result = defs.resolve_job_def("refresh").execute_in_process(instance=instance, asset_selection=SOME_ASSETS)
    return result.run_id


def prune_all(instance: dg.DagsterInstance) -> Pruned:
    return prune(instance, 30, lambda _line: None)


def files_of(run_id: str) -> list[Path]:
    return [path for path in Path(os.environ["DAGSTER_HOME"]).rglob("*") if run_id in str(path) and path.is_file()]


def check_results_of(run_id: str) -> int:
    found = 0
    for index in Path(os.environ["DAGSTER_HOME"]).glob("*/history/runs/index.db"):
        with closing(sqlite3.connect(index)) as connection:
            query = "SELECT count(*) FROM asset_check_executions WHERE run_id = ?"
            found += connection.execute(query, [run_id]).fetchone()[0]
    return found


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_old_run_goes_with_its_files_and_the_latest_stays(api, instance, in_forty_days):
    api(Simulator(delay_scale=0, hold=0))
    workspace = Workspace.open()
    drop(workspace, "a.txt", "one\ntwo\n")
    old = refreshed(instance)
    drop(workspace, "b.txt", "three\n")
    latest = refreshed(instance)
    assert files_of(old)
    assert check_results_of(old) > 0
    data_before = content(workspace.data.root)
    size_before = sum(path.stat().st_size for path in files_of(old))

    pruned = prune_all(instance)

    assert (pruned.runs, pruned.kept_for_assets, pruned.unfinished) == (1, 1, 0)
    assert pruned.bytes >= size_before
    assert instance.get_run_by_id(old) is None
    assert files_of(old) == []
    assert check_results_of(old) == 0
    assert instance.get_run_by_id(latest) is not None
    assert content(workspace.data.root) == data_before
    for asset in SOME_ASSETS:
        shown = instance.get_latest_materialization_event(asset)
        assert shown is not None
        assert shown.run_id == latest
        assert instance.fetch_materializations(asset, limit=10).records[0].run_id == latest
    checked = [key for checks in ASSET_CHECKS for key in checks.check_keys if key.asset_key in SOME_ASSETS]
    assert checked
    for key in checked:
        assert instance.get_latest_asset_check_evaluation_record(key).run_id == latest


def test_a_run_that_holds_the_latest_state_of_one_asset_alone_is_kept(api, instance, in_forty_days):
    api(Simulator(delay_scale=0, hold=0))
    refresh = defs.resolve_job_def("refresh")
    names = ("session_submissions", "pending_sessions", "session_submissions")
    first, pending, submissions = (
        refresh.execute_in_process(instance=instance, asset_selection=[dg.AssetKey(name)]).run_id for name in names
    )
    pruned = prune_all(instance)
    assert (pruned.runs, pruned.kept_for_assets) == (1, 2)
    assert {run.run_id for run in instance.get_runs()} == {pending, submissions}


@pytest.mark.parametrize(
    "status",
    [
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ],
)
def test_a_run_that_has_not_ended_is_never_removed(status, instance, in_forty_days):
    run = instance.create_run_for_job(retention.prune_runs, status=status)
    pruned = prune_all(instance)
    assert (pruned.runs, pruned.unfinished) == (0, 1)
    assert "kept 0 with the latest state of an asset, 1 unfinished" in pruned.line
    assert instance.get_run_by_id(run.run_id) is not None


@pytest.mark.parametrize(
    "status", [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
)
def test_a_run_younger_than_the_limit_stays_and_an_older_one_goes(status, instance, monkeypatch):
    run = instance.create_run_for_job(retention.prune_runs, status=status)
    assert prune_all(instance).runs == 0
    monkeypatch.setattr(retention, "now", lambda: now() + timedelta(days=30, minutes=-1))
    assert prune_all(instance).runs == 0
    monkeypatch.setattr(retention, "now", lambda: now() + timedelta(days=30, minutes=1))
    assert prune_all(instance).runs == 1
    assert instance.get_run_by_id(run.run_id) is None


def test_many_runs_are_pruned_with_a_word_now_and_then(instance, in_forty_days):
    for _ in range(retention._BATCH + 1):
        instance.create_run_for_job(retention.prune_runs, status=dg.DagsterRunStatus.SUCCESS)
    lines: list[str] = []
    assert prune(instance, 30, lines.append).runs == retention._BATCH + 1
    assert lines == [f"removed {retention._BATCH} runs so far"]


def test_the_weekly_job_prunes_and_leaves_itself(instance, in_forty_days):
    old = instance.create_run_for_job(retention.prune_runs, status=dg.DagsterRunStatus.SUCCESS)
    result = defs.resolve_job_def("prune_runs").execute_in_process(instance=instance)
    assert result.success
    assert instance.get_run_by_id(old.run_id) is None
    assert instance.get_run_by_id(result.run_id) is not None
    schedule = defs.resolve_schedule_def("weekly_prune")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING


def test_a_history_that_is_busy_is_pruned_without_being_shrunk(instance, in_forty_days, monkeypatch):
    monkeypatch.setattr(retention, "_BUSY_SECONDS", 0.0)
    instance.create_run_for_job(retention.prune_runs, status=dg.DagsterRunStatus.SUCCESS)
    index = Path(instance.root_directory, "history", "runs", "index.db")
    shrunk = retention._shrink

    def shrink_while_another_writes(home: Path) -> None:
        with closing(sqlite3.connect(index, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            shrunk(home)

    monkeypatch.setattr(retention, "_shrink", shrink_while_another_writes)
    assert prune_all(instance).runs == 1


def test_the_command_says_what_it_removed(configure):
    assert phygitals_here("prune", "--keep-days", "7").stdout == (
        "removed 0 runs older than 7 days, 0.0 MB; kept 0 with the latest state of an asset\n"
    )
    configure(keep_run_days=12)
    assert "older than 12 days" in phygitals_here("prune").stdout
    refused = phygitals_here("prune", "--keep-days", "0")
    assert refused.returncode != 0
    assert "--keep-days" in refused.stderr
