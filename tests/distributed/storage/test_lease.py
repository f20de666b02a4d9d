"""The lease of a lake: one run writes at a time, and who loses it stops."""

import json
import signal
import subprocess
import sys
import time
from datetime import timedelta

import pytest

from pipeline.schema.raw import PENDING_SESSIONS, STATUS_RESPONSES
from pipeline.simulator.server import Simulator
from pipeline.storage.bucket import Bucket
from pipeline.storage.connection import connect
from pipeline.storage.errors import DataDirectoryError, LeaseLostError
from pipeline.storage.lease import KEY, TIME_TO_LIVE, Lease
from tests.support.polling_process import Arrivals
from tests.support.processes import wait_until
from tests.support.s3 import Fault
from tests.support.workspace import drop, refresh, rows

HOLD = """
import sys
from pipeline.storage.lease import Lease
from pipeline.storage.connection import connect
from pipeline.storage.errors import LeaseLostError
lease = Lease(sys.argv[1], float(sys.argv[2]))
with lease.hold():
    print("held", flush=True)
    sys.stdin.readline()
    try:
        lease.check()
    except LeaseLostError:
        print("lost", flush=True)
"""


def is_lost(lease):
    try:
        lease.check()
    except LeaseLostError:
        return True
    return False


def etag(lake_url):
    found = Bucket(lake_url).head(KEY)
    return found and found.etag


def test_a_second_run_is_refused_with_the_holder_and_the_next_one_is_not(lake_url):
    first, second = Lease(lake_url), Lease(lake_url)
    with first.hold():
        assert second.is_held()
        with pytest.raises(DataDirectoryError, match="another run is writing to .* wait for it to end"), second.hold():
            pass
        first.check()
    assert not second.is_held()
    with second.hold():
        assert first.is_held()


def test_a_lease_that_was_not_renewed_is_taken_over_by_the_clock_of_the_store(lake_url, monkeypatch):
    bucket = Bucket(lake_url)
    bucket.write(KEY, json.dumps({"holder": "a dead machine", "host": "elsewhere"}).encode())
    lease = Lease(lake_url)
    monkeypatch.setattr(time, "time_ns", lambda: 1)  # this machine's clock says 1970
    assert lease.is_held()
    of_the_store = Bucket.now_ns
    ahead = timedelta(seconds=TIME_TO_LIVE + 2)
    monkeypatch.setattr(Bucket, "now_ns", lambda self: of_the_store(self) + int(ahead.total_seconds() * 1e9))
    assert not lease.is_held()
    with lease.hold():
        lease.check()


def test_a_damaged_lease_is_nobodys(lake_url):
    Bucket(lake_url).write(KEY, b"{")
    with Lease(lake_url).hold():
        pass


def test_a_lease_outlives_its_time_to_live_as_long_as_its_holder_renews_it(lake_url):
    with Lease(lake_url, time_to_live=2).hold():
        for _ in range(6):
            former = etag(lake_url)
            wait_until(lambda former=former: etag(lake_url) != former, "a renewal")  # type: ignore[misc]
        assert Lease(lake_url, time_to_live=2).is_held()


def test_a_holder_notices_that_another_took_over(lake_url):
    lease, bucket = Lease(lake_url, time_to_live=2), Bucket(lake_url)
    with lease.hold():
        bucket.write(KEY, json.dumps({"holder": "another"}).encode())
        wait_until(lambda: is_lost(lease), "the loss")
    found = bucket.read(KEY)
    assert found
    assert json.loads(found[0])["holder"] == "another"


def test_a_process_that_was_stopped_beyond_the_time_to_live_knows_that_it_lost_the_lease(lake_url):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, lake_url, "2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    process.send_signal(signal.SIGSTOP)
    lease = Lease(lake_url, time_to_live=2)
    wait_until(lambda: not lease.is_held(), "the end of the lease")
    with lease.hold():
        process.send_signal(signal.SIGCONT)
        found, _ = process.communicate("go on\n", timeout=60)
        assert found == "lost\n"
        lease.check()


def test_a_store_that_is_away_for_less_than_the_time_to_live_costs_no_lease(lake_url, s3_server):
    lease, refused = Lease(lake_url, time_to_live=8), list[str]()

    def refuse(method, path):
        if "leases" in path and len(refused) < 3:
            refused.append(path)
            return Fault("503 Service Unavailable", "SlowDown")
        return None

    with lease.hold():
        former = etag(lake_url)
        s3_server.fault = refuse
        wait_until(lambda: len(refused) == 3, "the refused renewals")
        wait_until(lambda: etag(lake_url) != former, "the next renewal")
        lease.check()


def test_a_run_that_lost_its_lease_sends_no_more_requests_and_writes_nothing(api, configure, machines, lake_url):
    def lose(_request, session_id):
        arrivals(_request, session_id)
        if len(arrivals.times) == 10:
            worker.data._lease._lost = True

    arrivals = Arrivals()
    api(Simulator(delay_scale=0, hold=0, on_request=lose))
    configure(requests_per_second=50, max_concurrency=1)
    worker = machines.use("worker", lake_url)
    worker.data.push(drop(worker, "a.txt", "\n".join(f"s{i}" for i in range(40))))
    worker.take_in()
    with worker.builder() as builder:
        builder.build(PENDING_SESSIONS)
    before = {(entry.key, entry.etag) for entry in Bucket(lake_url).list("raw")}
    with pytest.raises(LeaseLostError, match="received answers are kept"):
        worker.poll(lambda _progress: None)
    assert len(arrivals.times) == 10
    assert {(entry.key, entry.etag) for entry in Bucket(lake_url).list("raw")} == before
    Bucket(lake_url).delete(KEY)
    worker = machines.use("worker", lake_url)
    refresh(worker)
    with connect(worker.data) as connection:
        kept = connection.execute(f"SELECT count(*) FROM {worker.data.store.scan(STATUS_RESPONSES)}").fetchall()
    assert kept == [(len(arrivals.times),)]
    assert rows(worker, "SELECT count(*) FROM purchases WHERE status <> 'pending'") == [(40,)]
