"""Runs on real Celery workers: Redis and PostgreSQL, the lake in an S3 server, a daemon that starts the runs."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import dagster as dg
import httpx
import pytest
import yaml

from pipeline.settings import PROJECT_ROOT
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from pipeline.storage.bucket import Bucket
from pipeline.transform.shared_rebuild import PREBUILT
from tests.support.fleet import DAEMON, WEBSERVER, WORKER, processes_of
from tests.support.polling_process import Arrivals
from tests.support.processes import free_port, is_served, living, wait_until
from tests.support.rebuilds import DAYS, add_days, adopted, round_begun

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to find processes"),
    pytest.mark.timeout(900),
]

SESSIONS = [f"s{number}" for number in range(160)]
RUNS = "query { runsOrError { ... on Runs { results { runId status } } } }"
RETRY = "dagster/retry_number"
WITHIN = 240  # seconds for what a daemon and a worker do, which is a few on an idle machine


@pytest.fixture
def arrivals(api, configure, fleet):
    """The arrivals at an API that a run polls slowly enough to be disturbed after some of its answers."""
    arrivals = Arrivals()
    api(Simulator(delay_scale=0, hold=0, on_request=arrivals))
    configure(requests_per_second=20, poll_budget=300)
    fleet.submit(*SESSIONS)
    return arrivals


def statuses(fleet) -> list[str]:
    return [run.status.value for run in fleet.runs()]


def await_arrivals(arrivals, count: int) -> None:
    wait_until(lambda: len(arrivals.times) >= count, f"{count} requests", WITHIN)


def await_success(fleet) -> None:
    wait_until(lambda: "SUCCESS" in statuses(fleet), "a run has succeeded", WITHIN)


def await_retry(fleet, number: int) -> None:
    """The retry that has this number, counted from one, is in progress."""
    wait_until(
        lambda: any(run.tags.get(RETRY) == str(number) and run.status.value == "STARTED" for run in fleet.runs()),
        f"retry {number} has started",
        WITHIN,
    )


def assert_each_session_is_final(fleet) -> None:
    pending = "SELECT count(*) FILTER (status = 'pending'), count(*) FROM purchases"
    assert fleet.published(pending) == [(0, len(SESSIONS))]


def test_runs_go_on_while_redis_and_postgresql_restart_are_shown_and_can_be_canceled(arrivals, fleet, broker):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with fleet.running(WORKER, "worker"), fleet.running(DAEMON, "daemon"):
        await_arrivals(arrivals, 10)
        broker.kill()
        fleet.database.stop()
        fleet.database.start()
        broker.start()
        with fleet.running(WEBSERVER, "webserver", port):
            await_success(fleet)
            wait_until(lambda: is_served(url), "the webserver answers", WITHIN)
            shown = httpx.post(f"{url}/graphql", json={"query": RUNS}, timeout=60).raise_for_status().json()
        (run,) = fleet.runs()
        assert shown["data"]["runsOrError"]["results"] == [{"runId": run.run_id, "status": "SUCCESS"}]
        assert run.tags["dagster/sensor_name"] == "inbox_sensor"
        assert Path(run.tags["data_directory"]) == fleet.folder / "worker" / "data"
        assert not (fleet.folder / "daemon" / "data" / "phygitals.duckdb").exists()
        assert_each_session_is_final(fleet)
        assert fleet.published("SELECT sum(poll_count) FROM purchases") == [(len(arrivals.times),)]
        # The worker takes further runs from the restarted Redis. Somebody cancels this one.
        asked = len(arrivals.times)
        fleet.submit(*(f"more-{session_id}" for session_id in SESSIONS))
        await_arrivals(arrivals, asked + 10)
        with dg.DagsterInstance.get() as instance:
            assert instance.run_launcher.terminate(fleet.runs()[0].run_id)
        wait_until(lambda: statuses(fleet) == ["CANCELED", "SUCCESS"], "the run is canceled", WITHIN)
    assert fleet.runs()[0].tags.get("dagster/will_retry") != "true"
    assert not any(RETRY in found.tags for found in fleet.runs())


def test_a_run_whose_worker_is_stopped_goes_on_on_another_and_after_a_kill_waits_for_its_lease(
    arrivals, fleet, lake_url
):
    with fleet.running(DAEMON, "daemon"), fleet.running(WORKER, "first") as first:
        await_arrivals(arrivals, 60)
        with fleet.running(WORKER, "second") as second:
            stopped_at = time.monotonic()
            os.killpg(first, signal.SIGTERM)  # what KillMode=control-group does
            await_retry(fleet, 1)
            assert living(fleet.use("first")) == []
            await_arrivals(arrivals, 90)
            for process in processes_of(second):
                os.kill(process, signal.SIGKILL)
            await_retry(fleet, 2)
            assert Bucket(lake_url).read("leases/build.json") is not None
            Bucket(lake_url).delete("leases/build.json")  # as its time to live does, which no test waits for
            await_success(fleet)
    success, *failures = fleet.runs()
    assert [run.status.value for run in (success, *failures)] == ["SUCCESS", "FAILURE", "FAILURE"]
    assert Path(success.tags["data_directory"]) == fleet.folder / "second" / "data"
    before = {session_id for at, session_id in arrivals.times if at < stopped_at - 2}
    after = {session_id for at, session_id in arrivals.times if at > stopped_at + 2}
    assert before and after and before.isdisjoint(after)
    assert_each_session_is_final(fleet)


def test_the_signal_that_stops_a_container_of_a_worker_ends_its_run(arrivals, fleet):
    compose = yaml.safe_load((PROJECT_ROOT / "compose.yaml").read_text(encoding="utf-8"))
    with fleet.running(DAEMON, "daemon"), fleet.running(WORKER, "worker") as worker:
        await_arrivals(arrivals, 10)
        os.kill(worker, signal.Signals[compose["services"]["worker"]["stop_signal"]])  # a container's first process
        wait_until(lambda: living(fleet.use("worker")) == [], "the worker has ended", WITHIN)
        assert len(arrivals.times) < len(SESSIONS)
        assert statuses(fleet)[-1] == "FAILURE"


def test_a_worker_pre_builds_for_a_rebuild_on_another_machine(fleet, configure, monkeypatch):
    configure(rebuild_processes=2)
    fleet.use("first")
    first = Workspace.open()
    add_days(first)
    with (
        fleet.running(DAEMON, "daemon"),
        fleet.running(WORKER, "worker"),
        round_begun(first, monkeypatch) as builder,
    ):
        wait_until(lambda: statuses(fleet) == ["SUCCESS"], "the share is pre-built", WITHIN)
        assert sum(adopted(builder).values()) == DAYS * len(PREBUILT)
    (run,) = fleet.runs()
    assert run.tags["rebuild_share"] == "1 of 1"
