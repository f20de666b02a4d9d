"""What `phygitals status` says of a run history in PostgreSQL, with the tables that Dagster makes there."""

import os
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterEvent, DagsterEventType
from dagster._daemon.types import DaemonHeartbeat

from pipeline.cli.refresh import RefreshError, run_refresh
from pipeline.cli.status import status_of
from pipeline.clock import now
from pipeline.definitions import defs
from pipeline.orchestration.instance import recorded_runs
from pipeline.orchestration.run_history import DATA_DIRECTORY, LAKE_URL
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from tests.support.fleet import new_history
from tests.support.postgresql import OWNERS_PASSWORD
from tests.support.workspace import KEY, drop

CONFIGURATION = """
storage:
  postgres:
    postgres_url:
      env: DAGSTER_POSTGRES_URL
instance_class:
  module: pipeline.orchestration.instance
  class: EnvironmentInstance
"""


# PostgreSQL makes databases in SQL_ASCII where the machine has no locale.
@pytest.fixture(params=["UTF8", "SQL_ASCII"])
def history(request, database, monkeypatch):
    """An empty database that DAGSTER_HOME names."""
    pytest.importorskip("dagster_postgres")
    (Path(os.environ["DAGSTER_HOME"]) / "dagster.yaml").write_text(CONFIGURATION)
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", new_history(database, request.param))


def status():
    return status_of(Workspace.open_for_reading())


def test_it_tells_runs_triggers_and_what_to_do(api, history):
    simulator = api(Simulator(delay_scale=0, hold=0))
    with recorded_runs() as instance:
        tags = {DATA_DIRECTORY: str(Workspace.open().data.root)}
        done = instance.create_run_for_job(defs.resolve_job_def("refresh"), tags=tags)
        for event in (DagsterEventType.RUN_START, DagsterEventType.RUN_SUCCESS):
            instance.report_dagster_event(DagsterEvent(event.value, done.job_name), done.run_id)
    found = status()
    assert found.history_unknown_because is None
    assert found.last_run is not None and found.last_run.result == "succeeded"
    assert found.last_run.ended_at == found.last_success_at
    assert (found.schedules.state, found.sensors.state) == ("stopped", "stopped")
    simulator.key = "another"
    drop(Workspace.open(), "b.txt", "two\n")
    with pytest.raises(RefreshError) as failed:
        run_refresh(lambda _line: None, lambda _progress: None)
    with recorded_runs() as instance:
        seen = now() - timedelta(seconds=30)
        instance.add_daemon_heartbeat(DaemonHeartbeat(seen.timestamp(), "SCHEDULER", None))
    found = status()
    assert found.last_run is not None and found.last_run.what_to_do == str(failed.value)
    assert found.needs_person[0].message == str(failed.value)
    assert found.schedules.state == "running"
    assert found.schedules.last_seen_at is not None
    assert abs(found.schedules.last_seen_at - seen) < timedelta(milliseconds=1)
    simulator.key = KEY


def test_runs_of_a_lake_are_known_on_every_machine(history, machines, lake_url):
    machines.use("reader", lake_url)
    with recorded_runs() as instance:
        job = defs.resolve_job_def("refresh")
        mine = instance.create_run_for_job(job, tags={LAKE_URL: lake_url})
        instance.report_run_failed(mine, "The machine was switched off.")
        instance.create_run_for_job(job, tags={LAKE_URL: f"{lake_url}-of-another"})
        assert [run.status for run in instance.get_runs()].count(dg.DagsterRunStatus.FAILURE) == 1
    found = status()
    assert found.last_run is not None and found.last_run.run_id == mine.run_id
    assert found.needs_person[0].message == "The machine was switched off."


def test_a_database_that_refuses_is_one_line_without_the_password(history, monkeypatch):
    Workspace.open()
    url = os.environ["DAGSTER_POSTGRES_URL"]
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", url.replace("owner:", "nobody:"))
    found = str(status().history_unknown_because)
    assert "run history in PostgreSQL cannot be read" in found
    assert "authentication failed" in found
    assert "\n" not in found
    assert OWNERS_PASSWORD not in found
    assert "owner%27s" not in found
