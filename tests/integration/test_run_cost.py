"""What a run does not do: import what it does not need, compute what has not changed, report what stayed as it was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest

from pipeline.cli.refresh import RefreshError, run_refresh
from pipeline.clock import now
from pipeline.definitions import defs
from pipeline.orchestration import step as step_module
from pipeline.orchestration.checks import ASSET_CHECKS
from pipeline.orchestration.instance import kept_open, recorded_runs
from pipeline.report import ReportError
from pipeline.report.drawing_process import DrawingProcess
from pipeline.settings import PROJECT_ROOT
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from pipeline.storage.data_directory import DataDirectory
from tests.support.asset_groups import GROUPS
from tests.support.workspace import drop

# What importing the definitions may load beside Dagster itself, by top-level package. The HTTP client, the simulator,
# the libraries that draw and those for development are loaded where they are used.
MAY_LOAD = {"pipeline", "duckdb", "pyarrow", "numpy", "msgspec", "pydantic", "pydantic_settings", "dotenv"} | {
    *("croniter", "dateutil")  # the daily schedule's times
}
ARE_DAGSTER = {"dagster", "dagster_pipes", "dagster_shared"}
PROGRAM = """
import json, sys
import dagster
before = set(sys.modules)
import pipeline.settings
loads = []
load = pipeline.settings.Settings.__init__
pipeline.settings.Settings.__init__ = lambda *a, **k: (loads.append(1), load(*a, **k))[1]
import pipeline.definitions
print(json.dumps([sorted(set(sys.modules) - before), len(loads)]))
"""
EVERYTHING = set().union(*GROUPS.values())


def imported() -> tuple[list[str], int]:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=PROJECT_ROOT)
    modules, loads = json.loads(done.stdout)
    return modules, loads


def test_importing_the_definitions_loads_settings_once_and_nothing_heavy():
    modules, loads = imported()
    packages = {module.split(".")[0] for module in modules} - sys.stdlib_module_names - ARE_DAGSTER
    assert {package for package in packages if not package.startswith("_")} <= MAY_LOAD
    assert not any(module.startswith("pipeline.simulator") for module in modules)
    assert loads == 1


def submit(workspace: Workspace) -> None:
    drop(workspace, "a.csv", "session_id,pack_id,price_usd\n" + "".join(f"s{i},p,10\n" for i in range(12)))


@pytest.fixture
def workspace(api):
    api(Simulator(delay_scale=0, hold=0))
    workspace = Workspace.open()
    submit(workspace)
    return workspace


# Where the output of steps is kept beside the history, each step starts processes that copy it.
KEEP_NO_OUTPUT = """
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
"""


@pytest.fixture(scope="module")
def first_runs() -> list[dg.ExecuteInProcessResult]:
    """The first run of the workspace of `settled`, once it was run."""
    return []


@pytest.fixture
def settled(copy_of, first_runs):
    """A workspace after two runs, whose sessions are pending no more, and the instance that recorded the runs."""

    def build(workspace: Workspace) -> None:
        with (Path(os.environ["DAGSTER_HOME"]) / "dagster.yaml").open("a") as file:
            file.write(KEEP_NO_OUTPUT)
        submit(workspace)
        with recorded_runs() as instance:
            first_runs.append(run(instance))
            run(instance)

    workspace = copy_of("settled", lambda: Simulator(delay_scale=0, hold=0), build)
    with recorded_runs() as instance:
        yield workspace, instance


def run(instance: dg.DagsterInstance, *assets: str) -> dg.ExecuteInProcessResult:
    """A run of the job, of certain assets where they are named."""
    chosen = [dg.AssetKey(asset) for asset in assets] or None
    return defs.resolve_job_def("refresh").execute_in_process(instance=instance, asset_selection=chosen)


def reported(result: dg.ExecuteInProcessResult) -> set[str]:
    events = result.get_asset_materialization_events()
    return {event.materialization.asset_key.to_user_string() for event in events}


def evaluated(result: dg.ExecuteInProcessResult) -> dict[str, str | None]:
    """What each check that was evaluated said."""
    evaluations = result.get_asset_check_evaluations()
    return {f"{e.asset_key.to_user_string()}.{e.check_name}": e.description for e in evaluations}


def all_checks() -> set[str]:
    keys = (key for checks in ASSET_CHECKS for key in checks.check_keys)
    return {f"{key.asset_key.to_user_string()}.{key.name}" for key in keys}


def test_the_first_refresh_reports_every_asset_and_evaluates_every_check(settled, first_runs):
    (first,) = first_runs
    assert reported(first) == EVERYTHING
    assert set(evaluated(first)) == all_checks()


def test_a_refresh_with_nothing_new_takes_what_it_finds_as_it_is(settled):
    workspace, instance = settled
    workspace.data.report.read_bytes()  # the first reading of a copy changes the time of its last access
    published, report = workspace.data.warehouse.stat(), workspace.data.report.stat()
    again = run(instance)
    assert again.success
    assert reported(again) == set()
    assert evaluated(again) == {}
    assert workspace.data.warehouse.stat() == published
    assert workspace.data.report.stat() == report


def test_a_new_session_changes_what_it_belongs_to(settled):
    workspace, instance = settled
    drop(workspace, "b.txt", "one more\nanother\n".replace("one more", "one-more"))
    second = run(instance)
    assert {"session_submissions", "status_responses", "purchases", "pulls", "warehouse", "report"} <= reported(second)
    assert "not computed again" not in str(evaluated(second)["pulls.key_is_unique"])


def test_what_is_asked_for_by_name_is_reported_and_its_checks_say_that_nothing_has_changed(settled):
    _, instance = settled
    asked_for = run(instance, "pulls", "report")
    assert reported(asked_for) == {"pulls", "report"}
    assert str(evaluated(asked_for)["pulls.key_is_unique"]).startswith(
        "not computed again: its inputs are unchanged since "
    )


def test_the_first_refresh_after_the_daily_schedule_s_time_reports_every_asset(settled, monkeypatch):
    _, instance = settled
    monkeypatch.setattr(step_module, "now", lambda: now() + timedelta(days=1))
    assert reported(run(instance)) == EVERYTHING


def test_no_check_has_to_be_executed_with_anything_else():
    """So the UI gives each an Execute button of its own."""
    graph = defs.resolve_asset_graph()
    for key in graph.asset_check_keys:
        assert graph.get_execution_set_asset_and_check_keys(key) == {key}


def test_a_check_that_is_executed_alone_is_computed(settled):
    _, instance = settled
    chosen = dg.AssetCheckKey(dg.AssetKey("pulls"), "key_is_unique")
    job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection=set(), asset_check_selection={chosen})
    alone = job.execute_in_process(instance=instance)
    assert alone.success
    assert evaluated(alone) == {"pulls.key_is_unique": None}


def test_a_report_is_drawn_again_when_the_published_file_is_another(settled):
    workspace, instance = settled
    workspace.data.warehouse.touch()
    before = workspace.data.report.stat()
    assert reported(run(instance)) == {"warehouse", "report"}
    assert workspace.data.report.stat() != before


def test_a_drawing_process_that_dies_fails_the_report_with_what_to_do(workspace):
    with DrawingProcess() as process:
        process._process.kill()
        with pytest.raises(ReportError, match=r"ended with code -9: run `phygitals report`"):
            process.draw(workspace.data, "local", now())


def test_a_drawing_process_says_what_is_wrong_in_one_line(workspace):
    with DrawingProcess() as process, pytest.raises(ReportError, match="does not exist yet: run `phygitals refresh`"):
        process.draw(workspace.data, "local", now())


def test_a_drawing_process_that_nobody_orders_from_is_gone_after_the_block():
    with DrawingProcess() as process:
        pass
    assert process._process.returncode == -9


def test_a_report_of_another_day_environment_or_file_is_not_the_current_one(settled):
    workspace, _ = settled
    assert workspace.is_report_current()
    from pipeline.report.edition import is_current  # noqa: PLC0415

    assert not is_current(workspace.data, "sandbox", now())
    assert not is_current(workspace.data, workspace.settings.env, now() + timedelta(days=1))
    assert not is_current(DataDirectory(workspace.data.root / "nothing"), workspace.settings.env, now())


def test_a_run_keeps_the_files_of_its_events_open_so_that_their_logs_stay(workspace):
    with recorded_runs() as instance:
        run_of_job = instance.create_run_for_job(defs.resolve_job_def("refresh"))
        log = Path(instance.root_directory) / "history" / "runs" / f"{run_of_job.run_id}.db-wal"
        instance.report_engine_event("something", run_of_job)
        assert not log.exists()
        with kept_open(instance, run_of_job.run_id):
            instance.report_engine_event("something else", run_of_job)
            assert log.exists()


def test_a_file_of_events_that_does_not_open_stops_nothing(workspace):
    with recorded_runs() as instance:
        (Path(instance.root_directory) / "history" / "runs" / "broken.db").write_bytes(b"no database" * 1000)
        with kept_open(instance, "broken"):
            assert instance.get_runs() == []


def test_a_damaged_raw_file_ends_the_run_with_its_name_and_what_to_do(settled):
    workspace, _ = settled
    broken = next((workspace.data.root / "raw" / "session_submissions").rglob("*.parquet"))
    broken.write_bytes(b"broken")
    drop(workspace, "b.txt", "another\n")
    with pytest.raises(RefreshError, match=f"{broken.name} cannot be read.*restore it from a backup"):
        run_refresh(lambda _line: None, lambda _progress: None)
