"""Shards that machines with separate disks poll, through a lake in an object store."""

import os
import subprocess
import sys
import threading

from pipeline.polling.shards import LEAST_SESSIONS
from pipeline.schema.raw import PENDING_SESSIONS
from pipeline.simulator.server import Simulator
from pipeline.storage.bucket import Bucket
from tests.support.polling_process import Arrivals
from tests.support.processes import wait_until
from tests.support.workspace import ask, drop, statuses

JOURNALS = "raw/status_responses/.journal"
SESSIONS = [f"s{number}" for number in range(2 * LEAST_SESSIONS)]


def start_shard(folder, **variables):
    command = [sys.executable, "-m", "pipeline.cli.main", "poll-shard", "1"]
    environment = {**os.environ, "PHYGITALS_DATA_DIR": str(folder), **variables}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def coordinate(api, configure, machines, lake_url, arrivals, rate):
    """A run in a thread that has begun a round of two shards, and leaves the second to another machine."""
    api(Simulator(delay_scale=0, hold=0, on_request=arrivals))
    configure(poll_shards=2, requests_per_second=rate)
    first = machines.use("first", lake_url)
    first.data.push(drop(first, "a.txt", "\n".join(SESSIONS)))
    first.take_in()
    with first.builder() as builder:
        builder.build(PENDING_SESSIONS)
    polling = threading.Thread(target=lambda: first.poll(lambda _progress: None, claim_within=3600))
    polling.start()
    wait_until(lambda: Bucket(lake_url).head("staging/polling_round.json") is not None, "the round")
    return first, polling


def assert_each_session_is_final(workspace):
    found = statuses(workspace)
    assert len(found) == len(SESSIONS) and "pending" not in found.values()


def test_a_machine_with_a_higher_ceiling_polls_a_shard_within_that_of_the_run_and_the_tables_have_all_answers(
    api, configure, machines, lake_url, tmp_path
):
    arrivals = Arrivals()
    first, polling = coordinate(api, configure, machines, lake_url, arrivals, 50)
    assert start_shard(tmp_path / "second", PHYGITALS_REQUESTS_PER_SECOND="500").wait(120) == 0
    polling.join()
    times = [at for at, _ in arrivals.times]
    assert len(times) >= len(SESSIONS)
    assert max(sum(start <= at < start + 1 for at in times) for start in times) <= 50
    assert_each_session_is_final(first)


def test_a_shard_whose_machine_is_lost_stops_no_other_and_its_answers_are_kept(
    api, configure, machines, lake_url, tmp_path, monkeypatch
):
    monkeypatch.setattr("pipeline.polling.shards._ENDS_WITHIN", 5.0)
    arrivals = Arrivals()
    first, polling = coordinate(api, configure, machines, lake_url, arrivals, 20)
    shard = start_shard(tmp_path / "second")
    wait_until(
        lambda: len({key.split("/")[-2] for key in first.data.storage.segments(JOURNALS)}) == 2, "answers of both"
    )
    shard.kill()
    shard.wait()
    machines.wipe("second")
    polling.join()
    Bucket(lake_url).delete("leases/poll-1.json")  # as its time to live does, which no test waits for
    configure(requests_per_second=0)
    third = machines.use("third", lake_url)
    ask(third)
    assert_each_session_is_final(third)
    assert third.data.storage.segments(JOURNALS) == []
