"""Polling that several processes share: real processes, one API, one data directory."""

import os
import signal
import subprocess
import sys
import threading
import zlib
from typing import Any

import dagster as dg
import msgspec
import pytest

from pipeline.clock import now
from pipeline.orchestration.shards import poll_shard, shard_sensor
from pipeline.polling.shards import ROUND, Round, RoundOverError
from pipeline.schema.raw import PENDING_SESSIONS
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from pipeline.storage.errors import DataDirectoryError
from tests.support.polling_process import POLL, Arrivals
from tests.support.processes import wait_until
from tests.support.request_rates import most_in_a_second
from tests.support.workspace import build_all, drop, refresh, rows


def children():
    """The shards that processes poll, by number."""
    found = {}
    # Without `ww`, `ps` may cut a line at 80 columns, which a long path to Python fills before the shard's number.
    listed = subprocess.run(["ps", "-wweo", "pid,ppid,args"], check=True, capture_output=True, text=True).stdout
    for line in listed.splitlines():
        if f" {os.getpid()} " in line and " poll-shard " in line:
            found[int(line.split()[-1])] = int(line.split()[0])
    return found


def prepared(api, configure, count, arrivals, **values):
    api(Simulator(delay_scale=0, hold=0, on_request=arrivals))
    configure(poll_shards=3, **values)
    workspace = Workspace.open()
    drop(workspace, "a.txt", "\n".join(f"s{i}" for i in range(count)))
    workspace.take_in()
    with workspace.builder() as builder:
        builder.build(PENDING_SESSIONS)
    return workspace


def finals(workspace):
    build_all(workspace)
    workspace.publish()
    return rows(workspace, "SELECT count(*) FILTER (status <> 'pending'), count(*) FROM purchases")


def test_three_processes_resolve_every_session_once_within_the_ceiling(api, configure):
    arrivals = Arrivals()
    workspace = prepared(api, configure, 400, arrivals, requests_per_second=100)
    progress = workspace.poll(lambda _progress: None)
    assert (progress.total, progress.pending, progress.requests) == (400, 0, len(arrivals.times))
    assert most_in_a_second(at for at, _ in arrivals.times) <= 100
    assert len(list(workspace.data.raw.glob("status_responses/*/*.parquet"))) == 3
    assert finals(workspace) == [(400, 400)]
    assert workspace.data.records.load(ROUND, Round) is None


def test_a_shard_that_is_killed_is_polled_again_and_the_others_go_on(api, configure):
    arrivals = Arrivals()
    killed: list[int] = []

    def kill_in_the_middle(request, session_id):
        arrivals(request, session_id)
        of_shard = sum(zlib.crc32(asked.encode()) % 3 == 2 for _, asked in arrivals.times)
        if of_shard == 20 and not killed:
            killed.append(children()[2])
            os.kill(killed[0], signal.SIGKILL)

    workspace = prepared(api, configure, 400, kill_in_the_middle, requests_per_second=60)
    workspace.poll(lambda _progress: None)
    assert len(killed) == 1
    assert children() == {}
    refresh(workspace)
    assert finals(workspace) == [(400, 400)]


def test_if_the_run_dies_its_shards_stop_and_the_next_run_carries_on(api, configure):
    arrivals = Arrivals(wanted=100)
    workspace = prepared(api, configure, 600, arrivals, requests_per_second=60)
    process = subprocess.Popen([sys.executable, "-c", POLL])
    assert arrivals.reached.wait(60)
    wait_until(lambda: workspace.data.shard(2).is_being_written(), "the last shard")
    process.kill()
    process.wait()
    configure(requests_per_second=0)
    refresh(Workspace.open())
    assert finals(workspace) == [(600, 600)]
    assert not any(workspace.data.shard(number).is_being_written() for number in (1, 2))


def test_a_run_does_not_begin_while_a_shard_of_another_still_writes(api, configure, monkeypatch):
    workspace = prepared(api, configure, 10, Arrivals())
    monkeypatch.setattr("pipeline.storage.data_directory._SHARDS_END_WITHIN", 0.0)
    with workspace.data.shard(1).exclusive(), pytest.raises(DataDirectoryError, match="a polling shard of an earlier"):
        workspace.take_in()
    workspace.take_in()


def begin_round(workspace, count, seconds=60.0):
    found = Round("a-round", count, now().timestamp() + seconds, 0.0, 160)
    workspace.data.records.save(ROUND, msgspec.to_builtins(found))
    return found


def test_a_shard_is_polled_once_and_only_while_its_round_is_under_way(api, configure):
    arrivals = Arrivals()
    workspace = prepared(api, configure, 300, arrivals, requests_per_second=0)
    poll = workspace.poll_shard
    assert poll(1, lambda _progress: None) is None
    with workspace.data.exclusive():
        begin_round(workspace, 3)
        with workspace.data.shard(1).exclusive():
            assert Workspace.open().poll_shard(1, lambda _progress: None) is None
        progress = Workspace.open().poll_shard(1, lambda _progress: None)
        assert progress
        assert 50 < progress.total < 150
        assert progress.pending == 0
        asked = len(arrivals.times)
        assert [Workspace.open().poll_shard(shard, lambda _progress: None) for shard in (0, 1, 3)] == [None] * 3
    assert poll(2, lambda _progress: None) is None
    assert len(arrivals.times) == asked


def test_a_shard_stops_when_its_round_is_over(api, configure):
    arrivals = Arrivals(wanted=20)
    workspace = prepared(api, configure, 300, arrivals, requests_per_second=30)
    failed = []

    def poll():
        try:
            Workspace.open().poll_shard(1, lambda _progress: None)
        except RoundOverError as error:
            failed.append(error)

    with workspace.data.exclusive():
        begin_round(workspace, 3)
        shard = threading.Thread(target=poll)
        shard.start()
        assert arrivals.reached.wait(60)
    shard.join()
    assert "has ended" in str(failed[0])


def test_dagster_starts_a_run_for_each_other_shard(api, configure):
    arrivals = Arrivals()
    workspace = prepared(api, configure, 300, arrivals, requests_per_second=0)
    with dg.build_sensor_context() as context:
        assert isinstance(shard_sensor(context), dg.SkipReason)
        with workspace.data.exclusive():
            begin_round(workspace, 3)
            requests: Any = shard_sensor(context)
            assert [request.tags["polling_shard"] for request in requests] == ["1 of 3", "2 of 3"]
            assert len({request.run_key for request in requests}) == 2
            for request in requests:
                assert poll_shard.execute_in_process(run_config=request.run_config).success
    assert len({session_id for _, session_id in arrivals.times}) > 150
