"""Runs on real Celery workers: Redis and PostgreSQL, the lake in an S3 server, a daemon that starts the runs."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import dagster as dg
import httpx
import pytest

from pipeline.simulator.server import Simulator
from pipeline.storage.bucket import Bucket
from tests.support.fleet import DAEMON, WEBSERVER, WORKER, processes_of
from tests.support.polling_process import Arrivals
from tests.support.processes import free_port, is_served, living, wait_until

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to find processes"),
    pytest.mark.timeout(600),
]

SESSIONS = [f"s{number}" for number in range(300)]
RUNS = "query { runsOrError { ... on Runs { results { runId status } } } }"
RETRY = "dagster/retry_number"


@pytest.fixture
def arrivals(api, configure, fleet):
    """The arrivals at an API that a run polls slowly enough to be disturbed after some of its answers."""
    arrivals = Arrivals(wanted=60)
    api(Simulator(delay_scale=0, hold=0, on_request=arrivals))
    configure(requests_per_second=20, poll_budget=300)
    fleet.submit(*SESSIONS)
    return arrivals


def statuses(fleet) -> list[str]:
    return [run.status.value for run in fleet.runs()]


def await_success(fleet) -> None:
    wait_until(lambda: "SUCCESS" in statuses(fleet), "a run has succeeded", 240)


def assert_each_session_is_final(fleet) -> None:
    pending = "SELECT count(*) FILTER (status = 'pending'), count(*) FROM purchases"
    assert fleet.published(pending) == [(0, len(SESSIONS))]


def test_a_worker_takes_the_run_of_a_new_file_and_the_ui_shows_it(api, fleet):
    api(Simulator(delay_scale=0, hold=0))
    fleet.submit(*SESSIONS)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with (
        fleet.running(WORKER, "worker"),
        fleet.running(DAEMON, "daemon"),
        fleet.running(WEBSERVER, "webserver", port),
    ):
        await_success(fleet)
        wait_until(lambda: is_served(url), "the webserver answers")
        shown = httpx.post(f"{url}/graphql", json={"query": RUNS}, timeout=60).raise_for_status().json()
    (run,) = fleet.runs()
    assert shown["data"]["runsOrError"]["results"] == [{"runId": run.run_id, "status": "SUCCESS"}]
    assert run.tags["dagster/sensor_name"] == "inbox_sensor"
    assert Path(run.tags["data_directory"]) == fleet.folder / "worker" / "data"
    assert not (fleet.folder / "daemon" / "data" / "phygitals.duckdb").exists()
    assert_each_session_is_final(fleet)


def test_a_run_goes_on_while_redis_and_postgresql_restart(arrivals, fleet, broker):
    with fleet.running(WORKER, "worker"), fleet.running(DAEMON, "daemon"):
        assert arrivals.reached.wait(120)
        broker.kill()
        fleet.database.stop()
        fleet.database.start()
        broker.start()
        await_success(fleet)
        assert_each_session_is_final(fleet)
        assert fleet.published("SELECT sum(poll_count) FROM purchases") == [(len(arrivals.times),)]
        assert statuses(fleet) == ["SUCCESS"]
        # The worker takes further runs from the restarted Redis.
        fleet.submit("one more")
        wait_until(lambda: statuses(fleet) == ["SUCCESS", "SUCCESS"], "the next run has succeeded")


def test_a_worker_that_is_stopped_leaves_its_run_to_another(arrivals, fleet):
    with fleet.running(DAEMON, "daemon"), fleet.running(WORKER, "first") as first:
        assert arrivals.reached.wait(120)
        with fleet.running(WORKER, "second"):
            stopped_at = time.monotonic()
            os.killpg(first, signal.SIGTERM)  # what KillMode=control-group does
            await_success(fleet)
            assert living(fleet.use("first")) == []
    success, failure = fleet.runs()
    assert (success.status.value, failure.status.value) == ("SUCCESS", "FAILURE")
    assert Path(success.tags["data_directory"]) == fleet.folder / "second" / "data"
    before = {session_id for at, session_id in arrivals.times if at < stopped_at - 2}
    after = {session_id for at, session_id in arrivals.times if at > stopped_at + 2}
    assert before and after and before.isdisjoint(after)
    assert_each_session_is_final(fleet)


def test_the_retry_of_a_run_whose_process_was_killed_waits_for_its_lease(arrivals, fleet, lake_url):
    with fleet.running(DAEMON, "daemon"), fleet.running(WORKER, "worker") as worker:
        assert arrivals.reached.wait(120)
        for process in processes_of(worker):
            os.kill(process, signal.SIGKILL)
        wait_until(
            lambda: any(RETRY in run.tags and run.status.value == "STARTED" for run in fleet.runs()), "a retry started"
        )
        assert Bucket(lake_url).read("leases/build.json") is not None
        Bucket(lake_url).delete("leases/build.json")  # as its time to live does, which no test waits for
        await_success(fleet)
        assert statuses(fleet) == ["SUCCESS", "FAILURE"]
    assert_each_session_is_final(fleet)


def test_a_run_that_somebody_cancels_ends_as_canceled_and_is_not_retried(arrivals, fleet):
    with fleet.running(DAEMON, "daemon"), fleet.running(WORKER, "worker"):
        assert arrivals.reached.wait(120)
        (run,) = fleet.runs()
        with dg.DagsterInstance.get() as instance:
            assert instance.run_launcher.terminate(run.run_id)
        wait_until(lambda: statuses(fleet) == ["CANCELED"], "the run is canceled")
    (run,) = fleet.runs()
    assert run.tags.get("dagster/will_retry") != "true"
    assert not any(RETRY in found.tags for found in fleet.runs())
