"""Polling over real HTTP: the ceiling, 429s, strange servers, kills and signals."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pytest

from pipeline.polling.pace import Pace
from pipeline.schema.raw import PENDING_SESSIONS, STATUS_RESPONSES
from pipeline.simulator.server import Reply, Simulator
from pipeline.steps import Workspace
from pipeline.storage.connection import connect
from tests.support.answers import fulfilled
from tests.support.journals import kill
from tests.support.polling_process import POLL, Arrivals
from tests.support.workspace import ask, drop, refresh, rows, statuses


def final_sessions(workspace: Workspace) -> list[str]:
    with connect(workspace.data) as connection:
        found = connection.execute(
            f"SELECT session_id FROM {workspace.data.store.scan(STATUS_RESPONSES)} "
            "WHERE outcome IN ('fulfilled', 'failed')"
        ).fetchall()
    return [session_id for (session_id,) in found]


def test_the_ceiling_holds_in_every_second_for_each_request_that_the_server_sees(api, configure, monkeypatch):
    """When requests are let go, that is: what the machine then does to each on its way is no matter of the ceiling."""
    times, sent = [], Pace.sent

    def watched(self, now):
        times.append(now)
        sent(self, now)

    monkeypatch.setattr(Pace, "sent", watched)
    arrivals = Arrivals()
    api(Simulator(delay_scale=0, hold=0, fault_rate=0.2, on_request=arrivals))
    configure(requests_per_second=40)
    workspace = Workspace.open()
    drop(workspace, "a.txt", "\n".join(f"s{i}" for i in range(100)))
    ask(workspace)
    assert len(times) == len(arrivals.times) > 100
    assert max(sum(t <= u < t + 1.0 for u in times) for t in times) <= 40
    assert len(set(final_sessions(workspace))) == 100


def test_a_busy_server_slows_the_run_down_and_every_session_is_resolved_all_the_same(api, configure):
    simulator = api(Simulator(delay_scale=0, hold=0, rate_limit=60))
    configure(poll_interval=0.1)
    workspace = Workspace.open()
    drop(workspace, "a.txt", "\n".join(f"s{i}" for i in range(150)))
    ask(workspace)
    assert "pending" not in statuses(workspace).values()
    # Without slowing down, a hundred in flight would be turned away again and again.
    assert simulator.asked.total() < 600


def test_one_strange_answer_harms_no_other_session(api, configure):
    body = fulfilled("gzipped").body
    bomb = gzip.compress(b'{"status": "pending", "x": "' + b"x" * 64_000_000 + b'"}')
    gzip_headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    scripts = {
        "gzipped": [Reply(200, gzip.compress(body), gzip_headers)],
        "not-gzip": [Reply(200, body, gzip_headers), fulfilled("not-gzip")],
        "bomb": [Reply(200, bomb, gzip_headers), fulfilled("bomb")],
        "deep": [Reply(200, b"[" * 100_000), fulfilled("deep")],
        "headers": [Reply(200, b"{}", {f"X-{i}": "y" * 900 for i in range(300)}), fulfilled("headers")],
        "silent": [Reply(hold=30), fulfilled("silent")],
        "plain": [fulfilled("plain")],
    }
    api(Simulator(hold=0, scripts=scripts))
    configure(request_timeout=1)
    workspace = Workspace.open()
    drop(workspace, "a.txt", "\n".join(scripts))
    refresh(workspace)
    assert rows(workspace, "SELECT DISTINCT status FROM purchases") == [("fulfilled",)]
    malformed = rows(workspace, "SELECT session_id, detail FROM data_issues WHERE rule = 'malformed_answer' ORDER BY 1")
    assert [session_id for session_id, _ in malformed] == ["bomb", "deep", "headers", "not-gzip"]
    assert dict(malformed)["bomb"] == "the body is over 8 MiB"


def test_a_kill_loses_no_final_answer_older_than_two_seconds(api, configure, tmp_path):
    arrivals = Arrivals(wanted=150)
    api(Simulator(delay_scale=0, hold=0, on_request=arrivals))
    configure(requests_per_second=40)
    workspace = Workspace.open()
    drop(workspace, "a.txt", "\n".join(f"s{i}" for i in range(400)))
    process = subprocess.Popen([sys.executable, "-c", POLL])
    assert arrivals.reached.wait(60)
    killed_at = time.monotonic()
    process.kill()
    process.wait()
    assert list(workspace.data.root.glob("raw/status_responses/*/*.parquet")) == []
    ask(workspace)
    kept = final_sessions(workspace)
    asked_first = [s for t, s in arrivals.times if t < killed_at - 2.0]
    assert len(asked_first) > 40
    asked_again = {s for t, s in arrivals.times if t > killed_at}
    assert asked_again.isdisjoint(asked_first)
    assert sorted(kept) == sorted(f"s{i}" for i in range(400))
    assert "pending" not in statuses(workspace).values()


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_with_what_came_written_and_the_next_run_carries_on(signal_number, api, configure):
    arrivals = Arrivals(wanted=60)
    api(Simulator(delay_scale=0, hold=0, on_request=arrivals))
    configure(requests_per_second=40)
    workspace = Workspace.open()
    drop(workspace, "a.txt", "\n".join(f"s{i}" for i in range(100)))
    command = [sys.executable, "-m", "pipeline.cli.main", "refresh"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ)
    assert arrivals.reached.wait(60)
    process.send_signal(signal_number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert len(errors.decode().strip().splitlines()) == 1
    stopped = len(arrivals.times)
    assert stopped < 100
    assert len(final_sessions(workspace)) >= 50
    refresh(workspace)
    assert sorted(final_sessions(workspace)) == sorted(f"s{i}" for i in range(100))


def test_a_torn_journal_gives_what_was_synced(api):
    from datetime import UTC, datetime

    from pipeline.storage import raw_log
    from pipeline.storage.raw_log import Response, ResponseLog

    api(Simulator(hold=0))
    workspace = Workspace.open()
    moment = datetime(2026, 3, 1, 23, 59, 59, tzinfo=UTC)
    at = int(moment.timestamp()) * 1_000_000
    log = ResponseLog(workspace.data, STATUS_RESPONSES, moment)
    for batch in range(3):
        log.append(Response(f"s{batch}", at, at, 200, None, b"{}", "malformed", "x"))
        log.write(log.take())
    kill(log)
    (journal,) = workspace.data.journal(STATUS_RESPONSES).glob("*.journal")
    journal.write_bytes(journal.read_bytes()[:-30])
    (workspace.data.journal(STATUS_RESPONSES) / "20260301T000000-empty.journal").write_bytes(b"")
    with workspace.data.exclusive():
        (line,) = raw_log.recover(workspace.data, STATUS_RESPONSES)
        assert f"{journal} was torn at its end" in line
    assert list(workspace.data.journal(STATUS_RESPONSES).iterdir()) == []
    with connect(workspace.data) as connection:
        kept = connection.execute(f"SELECT session_id FROM {workspace.data.store.scan(STATUS_RESPONSES)}").fetchall()
    assert kept == [("s0",), ("s1",)]


def test_answers_are_kept_by_the_day_on_which_they_came(api):
    from datetime import UTC, datetime

    from pipeline.storage.raw_log import Response, ResponseLog

    api(Simulator(hold=0))
    workspace = Workspace.open()
    midnight = datetime(2026, 3, 2, tzinfo=UTC)
    log = ResponseLog(workspace.data, STATUS_RESPONSES, midnight)
    for seconds in (-1, 0, 1):
        at = (int(midnight.timestamp()) + seconds) * 1_000_000
        log.append(Response(f"s{seconds}", at, at, None, None, None, "transient", "x"))
    log.close()
    assert {day: len(paths) for day, paths in workspace.data.store.parts(STATUS_RESPONSES).items()} == {
        "2026-03-01": 1,
        "2026-03-02": 1,
    }


def test_a_run_asks_nobody_who_became_final_since_the_list_was_made(api):
    simulator = api(Simulator(delay_scale=0, hold=0))
    workspace = Workspace.open()
    drop(workspace, "a.txt", "s\n")
    workspace.take_in()
    with workspace.builder() as builder:
        builder.build(PENDING_SESSIONS)
    workspace.poll(lambda _: None)
    assert workspace.poll(lambda _: None).total == 0
    assert simulator.asked["s"] == 1


def test_the_arrow_stream_reader_stops_at_a_torn_end_as_recovery_relies_on():
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema([("a", pa.int64())])) as writer:
        for _ in range(2):
            writer.write_batch(pa.record_batch([pa.array([1])], names=["a"]))
    torn = sink.getvalue().to_pybytes()[:-40]
    reader = pa.ipc.open_stream(torn)
    reader.read_next_batch()
    with pytest.raises((pa.ArrowInvalid, OSError)):
        reader.read_next_batch()


def poll_with_open_files(soft: int, hard: int) -> subprocess.CompletedProcess[str]:
    limits = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))"
    return subprocess.run([sys.executable, "-c", limits + POLL], capture_output=True, text=True, timeout=120)


def test_a_run_holds_more_connections_than_the_usual_limit_of_open_files(api, configure):
    api(Simulator(delay_scale=0, hold=1))
    configure(max_concurrency=600)
    workspace = Workspace.open()
    drop(workspace, "a.txt", "\n".join(f"s{i}" for i in range(600)))
    done = poll_with_open_files(soft=128, hard=4_096)
    assert done.returncode == 0, done.stderr
    assert len(final_sessions(workspace)) == 600


def test_more_connections_than_the_system_allows_are_refused_by_name(api, configure):
    api(Simulator(delay_scale=0, hold=0))
    configure(max_concurrency=600)
    workspace = Workspace.open()
    drop(workspace, "a.txt", "s\n")
    done = poll_with_open_files(soft=128, hard=512)
    assert done.returncode != 0
    assert "PHYGITALS_MAX_CONCURRENCY=600 needs 856 open files, but the system allows this process 512" in done.stderr


def test_a_ceiling_below_one_request_a_second_holds_in_a_whole_run(api, configure):
    arrivals = Arrivals()
    api(Simulator(delay_scale=0, hold=0, on_request=arrivals))
    configure(requests_per_second=0.5)
    workspace = Workspace.open()
    drop(workspace, "a.txt", "s1\ns2\n")
    refresh(workspace)
    first, second = (at for at, _ in arrivals.times)
    assert second - first >= 2
