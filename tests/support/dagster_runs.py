"""Ticks of the inbox sensor, and runs that did not end."""

from __future__ import annotations

import subprocess
import sys

import dagster as dg
import pytest
from dagster import DagsterEvent, DagsterEventType
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from pipeline.definitions import defs
from pipeline.orchestration.automation import inbox_sensor
from pipeline.orchestration.run_history import DATA_DIRECTORY
from pipeline.settings import PROJECT_ROOT

EXECUTE = [sys.executable, "-m", "dagster", "job", "execute", "-m", "pipeline.definitions", "-j", "refresh"]


def execute() -> subprocess.CompletedProcess[str]:
    return subprocess.run(EXECUTE, capture_output=True, text=True, cwd=PROJECT_ROOT, timeout=200, check=False)


def tick(instance: dg.DagsterInstance | None = None) -> dg.RunRequest | dg.SkipReason:
    with dg.DagsterInstance.ephemeral() as empty:
        result = inbox_sensor(dg.build_sensor_context(instance or empty))
    assert isinstance(result, dg.RunRequest | dg.SkipReason)
    return result


def requested() -> dg.RunRequest:
    """By a tick that asks for a run."""
    result = tick()
    assert isinstance(result, dg.RunRequest)
    return result


def skipped(instance: dg.DagsterInstance | None = None) -> str:
    """Why a tick asks for no run."""
    result = tick(instance)
    assert isinstance(result, dg.SkipReason) and result.skip_message is not None
    return result.skip_message


@pytest.fixture
def unfinished_run(tmp_path):
    """An instance with a run that has just begun to write, and whose process is not there."""
    with dg.DagsterInstance.ephemeral() as instance:
        tags = {DATA_DIRECTORY: str(tmp_path / "data")}
        run = instance.create_run_for_job(defs.resolve_job_def("refresh"), tags=tags)
        instance.report_engine_event("started", run)
        instance.handle_run_event(run.run_id, started(run))
        yield instance, run.run_id


def origin_of_daemon(job: str) -> RemoteJobOrigin:
    """The origin of a run that the daemon or the UI started: it names the socket of the server that loads the job."""
    location = GrpcServerCodeLocationOrigin("localhost", socket="/tmp/server", location_name="phygitals")  # noqa: S108
    return RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME).get_job_origin(job)


def started(run: dg.DagsterRun) -> DagsterEvent:
    return DagsterEvent(DagsterEventType.RUN_START.value, run.job_name)
