"""Runs on other machines: the lease in the object store says which are dead."""

import json
from datetime import timedelta

import dagster as dg
import pytest
from dagster import DagsterEvent, DagsterEventType

from pipeline.clock import now
from pipeline.definitions import defs
from pipeline.orchestration import dead_runs
from pipeline.orchestration.run_history import DATA_DIRECTORY, LAKE_URL, LEASE_HOLDER
from pipeline.storage.bucket import Bucket
from pipeline.storage.lease import KEY, Lease
from tests.support.s3 import Fault


@pytest.fixture
def remote_run(lake_url, tmp_path):
    """An instance with a run that has just begun to write, by another machine that holds the lease."""
    with dg.DagsterInstance.ephemeral() as instance:
        tags = {DATA_DIRECTORY: str(tmp_path / "elsewhere"), LAKE_URL: lake_url, LEASE_HOLDER: "the other machine"}
        run = instance.create_run_for_job(defs.resolve_job_def("refresh"), tags=tags)
        instance.report_engine_event("started", run)
        instance.handle_run_event(run.run_id, DagsterEvent(DagsterEventType.RUN_START.value, run.job_name))
        Bucket(lake_url).write(KEY, json.dumps({"holder": "the other machine"}).encode())
        yield instance, run.run_id


def test_a_run_that_is_silent_but_holds_its_lease_is_alive(remote_run, monkeypatch):
    instance, _ = remote_run
    monkeypatch.setattr(dead_runs, "now", lambda: now() + timedelta(minutes=10))
    assert dead_runs.fail_dead_runs(instance) == []


def test_a_run_that_left_its_lease_to_end_is_dead_at_once(remote_run, monkeypatch):
    instance, run_id = remote_run
    of_the_store = Bucket.now_ns
    monkeypatch.setattr(Bucket, "now_ns", lambda self: of_the_store(self) + 62_000_000_000)
    assert dead_runs.fail_dead_runs(instance) == [run_id]


def test_a_retry_is_not_dead_before_it_takes_the_lease_of_the_dead_run(remote_run, monkeypatch):
    instance, run_id = remote_run
    dead = instance.get_run_by_id(run_id)
    instance.report_run_failed(dead)
    retry = instance.create_run_for_job(
        defs.resolve_job_def("refresh"), tags=dead.tags, parent_run_id=run_id, root_run_id=run_id
    )
    instance.report_engine_event("waits for a worker", retry)
    instance.handle_run_event(retry.run_id, DagsterEvent(DagsterEventType.RUN_START.value, retry.job_name))
    of_the_store = Bucket.now_ns
    monkeypatch.setattr(Bucket, "now_ns", lambda self: of_the_store(self) + 62_000_000_000)
    monkeypatch.setattr(dead_runs, "now", lambda: now() + timedelta(minutes=10))
    assert dead_runs.fail_dead_runs(instance) == []
    # From here on, the retry writes.
    instance.add_run_tags(retry.run_id, {LEASE_HOLDER: "another machine"})
    assert dead_runs.fail_dead_runs(instance) == [retry.run_id]


def test_a_run_that_released_its_lease_may_have_work_left(remote_run, lake_url):
    instance, _ = remote_run
    Bucket(lake_url).delete(KEY)
    with Lease(lake_url).hold():
        pass
    assert dead_runs.fail_dead_runs(instance) == []


def test_while_the_store_is_away_no_run_is_called_dead(remote_run, s3_server, monkeypatch):
    instance, _ = remote_run
    monkeypatch.setattr(dead_runs, "now", lambda: now() + timedelta(minutes=10))
    s3_server.fault = lambda _method, _path: Fault("403 Forbidden", "ExpiredToken")
    assert dead_runs.fail_dead_runs(instance) == []
