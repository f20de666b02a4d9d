"""Runs whose process died: they are reported as failed, and started again where that may help."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg
import pytest
from dagster import DagsterEventType
from dagster._core.storage.tags import ROOT_RUN_ID_TAG, WILL_RETRY_TAG

from pipeline.cli.refresh import RefreshError, run_refresh
from pipeline.clock import now
from pipeline.definitions import defs
from pipeline.orchestration import dead_runs
from pipeline.orchestration.automation import inbox_sensor
from pipeline.orchestration.command_line_runs import TAGS, give_runs_an_origin
from pipeline.orchestration.instance import recorded_runs
from pipeline.orchestration.run_history import DATA_DIRECTORY
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from pipeline.storage.data_directory import DataDirectory
from tests.support.dagster_runs import origin_of_daemon, started
from tests.support.workspace import drop


@pytest.fixture
def dead_run(unfinished_run, monkeypatch):
    """The same, three minutes later."""
    monkeypatch.setattr(dead_runs, "now", lambda: now() + timedelta(minutes=3))
    return unfinished_run


def test_a_run_that_died_with_its_process_is_reported_as_failed(api, dead_run):
    api(Simulator(hold=0))
    instance, run_id = dead_run
    assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.STARTED
    assert dead_runs.fail_dead_runs(instance) == [run_id]
    assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.FAILURE


def test_a_tick_of_the_inbox_sensor_reports_it(api, dead_run):
    api(Simulator(hold=0))
    instance, run_id = dead_run
    inbox_sensor(dg.build_sensor_context(instance))
    assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.FAILURE


def is_started_again(instance: dg.DagsterInstance, run_id: str) -> bool:
    """What the daemon goes by."""
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return {"true": True, "false": False}[run.tags[WILL_RETRY_TAG]]


def how_it_ended(instance: dg.DagsterInstance, run_id: str) -> str:
    (failure,) = instance.all_logs(run_id, of_type=DagsterEventType.RUN_FAILURE)
    return str(failure.get_dagster_event().message)


def test_a_run_that_died_is_started_again_twice_at_most(api, monkeypatch):
    api(Simulator(hold=0))
    monkeypatch.setattr(dead_runs, "now", lambda: now() + timedelta(minutes=3))
    job, data, again = defs.resolve_job_def("refresh"), Workspace.open().data, []
    with recorded_runs() as instance:
        root: str | None = None
        for _ in range(3):
            tags = {DATA_DIRECTORY: str(data.root)}
            if root:
                tags[ROOT_RUN_ID_TAG] = root  # as the daemon tags the runs that it starts again
            run = instance.create_run_for_job(job, root_run_id=root, parent_run_id=root, tags=tags)
            instance.report_dagster_event(started(run), run.run_id)
            assert dead_runs.fail_dead_runs(instance) == [run.run_id]
            again.append(is_started_again(instance, run.run_id))
            root = root or run.run_id
    assert again == [True, True, False]


def test_a_dead_run_of_the_command_line_is_not_started_again_while_one_of_the_daemon_is(api, monkeypatch):
    api(Simulator(hold=0))
    monkeypatch.setattr(dead_runs, "now", lambda: now() + timedelta(minutes=3))
    job, place = defs.resolve_job_def("refresh"), {DATA_DIRECTORY: str(Workspace.open().data.root)}
    with recorded_runs() as instance:
        of_daemon = instance.create_run_for_job(job, tags=place, remote_job_origin=origin_of_daemon(job.name))
        give_runs_an_origin(instance, job.name)
        own = instance.create_run_for_job(job, tags={**place, **TAGS})
        for run in (own, of_daemon):
            instance.report_dagster_event(started(run), run.run_id)
        dead_runs.fail_dead_runs(instance)
        assert is_started_again(instance, of_daemon.run_id)
        assert not is_started_again(instance, own.run_id)
        assert "The daemon retries the run up to twice" in how_it_ended(instance, of_daemon.run_id)
        assert "Run `phygitals refresh` again" in how_it_ended(instance, own.run_id)


def test_a_run_that_failed_with_a_reason_is_not_started_again(api):
    api(Simulator(hold=0)).key = "another"
    drop(Workspace.open(), "a.txt", "one\n")
    with pytest.raises(RefreshError):
        run_refresh(lambda _line: None, lambda _progress: None)
    with recorded_runs() as instance:
        (run,) = instance.get_runs()
        assert not is_started_again(instance, run.run_id)


def test_a_run_is_judged_by_its_own_data_directory_whichever_is_configured(api, dead_run, configure, tmp_path):
    api(Simulator(hold=0))
    own = Workspace.open().data
    configure(data_dir=tmp_path / "another")
    instance, run_id = dead_run
    with own.exclusive():
        inbox_sensor(dg.build_sensor_context(instance))
        assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.STARTED
    with Workspace.open().data.exclusive():
        assert dead_runs.fail_dead_runs(instance) == [run_id]


def test_a_run_whose_data_directory_is_gone_is_reported_as_failed(dead_run):
    instance, run_id = dead_run
    assert dead_runs.fail_dead_runs(instance) == [run_id]


def test_a_run_whose_data_directory_may_not_be_looked_into_is_left_alone(dead_run, monkeypatch):
    def refused(_data: DataDirectory) -> bool:
        raise PermissionError

    monkeypatch.setattr(DataDirectory, "is_being_written", refused)
    instance, _ = dead_run
    assert dead_runs.fail_dead_runs(instance) == []


def test_a_run_that_never_wrote_is_given_an_hour(monkeypatch):
    with dg.DagsterInstance.ephemeral() as instance:
        run = instance.create_run_for_job(defs.resolve_job_def("refresh"))
        instance.report_dagster_event(started(run), run.run_id)
        for minutes, found in ((50, []), (70, [run.run_id])):
            monkeypatch.setattr(dead_runs, "now", lambda minutes=minutes: now() + timedelta(minutes=minutes))
            assert dead_runs.fail_dead_runs(instance) == found


def test_a_dead_run_from_a_shell_is_not_said_to_be_started_again(api, dead_run):
    api(Simulator(hold=0))
    instance, run_id = dead_run
    dead_runs.fail_dead_runs(instance)
    assert "Run `phygitals refresh` again" in how_it_ended(instance, run_id)


def test_a_run_that_is_writing_is_left_alone(api, dead_run):
    api(Simulator(hold=0))
    instance, run_id = dead_run
    with Workspace.open().data.exclusive():
        assert dead_runs.fail_dead_runs(instance) == []
    assert instance.get_run_by_id(run_id).status is dg.DagsterRunStatus.STARTED


def test_a_run_that_has_just_started_is_left_alone(api, unfinished_run):
    api(Simulator(hold=0))
    instance, _ = unfinished_run
    assert dead_runs.fail_dead_runs(instance) == []
