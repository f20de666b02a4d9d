"""An object store that is away for so long that a run gives up: for minutes, where a run waits three quarters of one.

The tests shorten the waiting, so that the store is away for longer than a run retries and than a lease lives.
"""

from datetime import timedelta

import pytest

from pipeline.errors import PipelineError
from pipeline.schema.raw import PENDING_SESSIONS
from pipeline.simulator.server import Simulator
from pipeline.storage import lease
from pipeline.storage.bucket import Bucket
from pipeline.storage.errors import StoreError
from tests.support.lake import table_hashes
from tests.support.polling_process import Arrivals
from tests.support.s3 import Fault
from tests.support.workspace import ask, drop, refresh, rows, statuses

AWAY = Fault("503 Service Unavailable", "ServiceUnavailable")
SESSIONS = [f"s{number}" for number in range(40)]


@pytest.fixture
def worker(api, machines, lake_url, configure, monkeypatch):
    """A machine that gives up on the store after half a second, with submitted sessions."""
    monkeypatch.setattr(lease, "_RETRY_FOR", timedelta(seconds=0.2))
    arrivals = Arrivals()
    api(Simulator(delay_scale=0, hold=0, on_request=arrivals))
    monkeypatch.setattr(Bucket.__init__, "__defaults__", (timedelta(seconds=0.5),))
    made = machines.use("worker", lake_url)
    made.data.push(drop(made, "a.csv", "session_id\n" + "\n".join(SESSIONS)))
    return made, arrivals


def go_away_at(server, lake_url, when):
    """The store answers nothing from the first request on for which `when` is true, until the test calls the result."""
    is_away = False

    def fault(method, path):
        nonlocal is_away
        is_away = is_away or when(method, path)
        return AWAY if is_away else None

    def come_back():
        server.fault = lambda _method, _path: None
        Bucket(lake_url).delete(lease.KEY)  # as its time to live does, which no test waits for

    server.fault = fault
    return come_back


def test_a_run_that_polls_ends_in_one_line_and_the_next_asks_for_no_answer_again(
    worker, s3_server, lake_url, configure, machines
):
    configure(requests_per_second=10)
    workspace, arrivals = machines.use("worker", lake_url), worker[1]
    workspace.take_in()
    with workspace.builder() as builder:
        builder.build(PENDING_SESSIONS)
    come_back = go_away_at(s3_server, lake_url, lambda _method, _path: len(arrivals.times) >= 10)
    with pytest.raises(StoreError) as ended:
        workspace.poll(lambda _progress: None)
    assert "\n" not in str(ended.value)
    asked = {session_id for _, session_id in arrivals.times}
    assert 10 <= len(asked) < len(SESSIONS)
    come_back()
    before = len(arrivals.times)
    configure(requests_per_second=0)
    workspace = machines.use("worker", lake_url)
    ask(workspace)
    assert {session_id for _, session_id in arrivals.times[before:]}.isdisjoint(asked)
    found = statuses(workspace)
    assert len(found) == len(SESSIONS) and "pending" not in found.values()


def test_runs_that_build_or_publish_end_in_one_line_and_the_next_one_heals(worker, s3_server, lake_url, machines):
    """Each run finds what the one before has left, and comes further, or the store would not be asked for the place."""
    workspace, _ = worker
    ask(workspace)
    machines.wipe("worker")  # a machine that has to download raw
    for when in ("GET raw", "PUT staging/manifest/", "PUT staging/manifest.json", "PUT lake/pulls", "PUT versions"):
        method, place = when.split()
        come_back = go_away_at(
            s3_server, lake_url, lambda asked, path, m=method, p=place: asked == m and f"/production/{p}" in path
        )
        with pytest.raises(PipelineError, match="status 503") as ended:
            workspace.publish()
        assert "\n" not in str(ended.value)
        come_back()
    refresh(workspace)
    found = table_hashes(workspace.data)
    workspace.rebuild()
    assert table_hashes(workspace.data) == found
    assert rows(workspace, "SELECT count(*) FROM purchases") == [(len(SESSIONS),)]
