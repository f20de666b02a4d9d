"""The lake in an object store: runs on several machines, of which each may lose its disk, and the same tables."""

import os
import shutil
import subprocess
import sys
from datetime import timedelta

import pyarrow.parquet as pq
import pytest

from pipeline.explore.edition import current_edition
from pipeline.publish.reading import open_for_queries
from pipeline.schema import TABLES
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.schema.staging import PULLS
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from pipeline.storage.bucket import Bucket
from pipeline.storage.errors import DataDirectoryError, StoreError
from pipeline.storage.journal import Account, read
from pipeline.storage.manifest import Manifest
from tests.support.lake import table_hashes
from tests.support.polling_process import POLL, Arrivals
from tests.support.s3 import Fault
from tests.support.workspace import KEY, ask, build, derive, drop, refresh, rows, statuses


def submit(workspace, name, ids):
    workspace.data.push(drop(workspace, name, "session_id\n" + "".join(f"{session_id}\n" for session_id in ids)))


def requests(answers):
    """What tells one request from every other."""
    return list(zip(answers["session_id"].to_pylist(), answers["requested_at"].to_pylist(), strict=True))


def test_the_tables_are_those_of_a_laptop_row_order_included(api, machines, lake_url, tmp_path):
    api(Simulator(delay_scale=0, hold=0))
    worker = machines.use("worker", lake_url)
    submit(worker, "a.csv", [f"s{i}" for i in range(40)])
    refresh(worker)
    submit(worker, "b.csv", [f"s{i}" for i in range(30, 60)])
    refresh(worker)
    assert rows(worker, "SELECT count(*) FROM purchases WHERE status = 'fulfilled'")[0][0] > 40
    laptop = machines.use("laptop", None)
    shutil.copytree(worker.data.raw, laptop.data.raw, dirs_exist_ok=True)
    laptop.rebuild()
    assert table_hashes(laptop.data) == table_hashes(worker.data)


def test_a_machine_with_an_empty_disk_goes_on_where_another_stopped(api, machines, lake_url, s3_server):
    arrivals = Arrivals()
    api(Simulator(delay_scale=0, hold=0, on_request=arrivals))
    first = machines.use("first", lake_url)
    submit(first, "a.csv", [f"s{i}" for i in range(30)])
    refresh(first)
    before, asked = table_hashes(first.data), len(arrivals.times)
    machines.wipe("first")
    s3_server.requests.clear()
    second = machines.use("second", lake_url)
    refresh(second)
    assert len(arrivals.times) == asked
    assert table_hashes(second.data) == before
    written = {request.path for request in s3_server.requests if request.method == "PUT" and ".parquet" in request.path}
    assert {path.rpartition("/")[2] for path in written} <= {"pending_sessions.parquet"}


def test_a_kill_with_the_loss_of_the_disk_costs_no_answer_older_than_two_seconds(
    api, configure, machines, lake_url, s3_server
):
    arrivals = Arrivals(wanted=150)
    api(Simulator(delay_scale=0, hold=0, on_request=arrivals))
    configure(requests_per_second=40)
    first = machines.use("first", lake_url)
    submit(first, "a.csv", [f"s{i}" for i in range(200)])
    process = subprocess.Popen([sys.executable, "-c", POLL])
    assert arrivals.reached.wait(60)
    killed_at = arrivals.times[-1][0]
    process.kill()
    process.wait()
    machines.wipe("first")
    second = machines.use("second", lake_url)
    with pytest.raises(DataDirectoryError, match="another run is writing"):
        second.take_in()
    Bucket(lake_url).delete("leases/build.json")  # as its time to live does, which no test waits for
    configure(requests_per_second=0)
    ask(second)
    asked_first = {session_id for at, session_id in arrivals.times if at < killed_at - 2.0}
    asked_again = {session_id for at, session_id in arrivals.times if at > killed_at}
    assert len(asked_first) > 40
    assert asked_again.isdisjoint(asked_first)
    found = statuses(second)
    assert len(found) == 200 and "pending" not in found.values()
    assert second.data.storage.segments("raw/status_responses/.journal") == []


def test_a_machine_that_comes_back_after_another_sealed_its_answers_adds_only_the_rest(
    api, configure, machines, lake_url
):
    arrivals = Arrivals(wanted=60)
    api(Simulator(delay_scale=0, hold=0, on_request=arrivals))
    configure(requests_per_second=40)
    first = machines.use("first", lake_url)
    submit(first, "a.csv", [f"s{i}" for i in range(100)])
    process = subprocess.Popen([sys.executable, "-c", POLL])
    assert arrivals.reached.wait(60)
    process.kill()
    process.wait()
    Bucket(lake_url).delete("leases/build.json")
    (journal,) = first.data.root.glob("raw/status_responses/.journal/*.journal")
    received = [row for batch in read(journal, STATUS_RESPONSES, Account()) for row in requests(batch)]
    *_, last = first.data.storage.segments("raw/status_responses/.journal")
    first.data.storage.drop_segments([last])  # as if the machine had stopped before it sent its last answers
    configure(requests_per_second=0)
    ask(machines.use("second", lake_url))
    back = machines.use("first", lake_url)
    assert journal.exists()
    ask(back)
    paths = [path for of_day in back.data.store.parts(STATUS_RESPONSES).values() for path in of_day]
    sealed = [row for path in paths for row in requests(pq.ParquetFile(path).read())]
    assert len(received) > 20
    assert set(received) <= set(sealed)
    assert len(sealed) == len(set(sealed))
    assert not journal.exists()


def test_readers_and_pages_on_other_machines_see_what_was_published(api, machines, lake_url):
    api(Simulator(delay_scale=0, hold=0))
    worker = machines.use("worker", lake_url)
    submit(worker, "a.csv", ["s1", "s2"])
    refresh(worker)
    worker.report()
    machines.use("reader", lake_url)
    reader = Workspace.open_for_reading()
    with open_for_queries(reader.data.current(reader.data.warehouse)) as connection:
        assert connection.execute("SELECT count(*) FROM purchases").fetchall() == [(2,)]
    assert reader.is_report_current()
    former, query = current_edition(reader.data), "SELECT count(*) FROM purchases"
    assert not former.is_outdated()
    submit(worker, "b.csv", ["s3"])
    refresh(worker)
    reader = Workspace.open_for_reading()
    with open_for_queries(reader.data.current(reader.data.warehouse)) as connection:
        assert connection.execute("SELECT count(*) FROM purchases").fetchall() == [(3,)]
    assert former.is_outdated()  # the page says that newer data were published, and shows them
    newer = current_edition(reader.data)
    assert [edition.cursor().execute(query).fetchall() for edition in (former, newer)] == [[(2,)], [(3,)]]
    assert [edition.cursor_for_users().execute(query).fetchall() for edition in (former, newer)] == [[(2,)], [(3,)]]
    for name in "cd":
        submit(worker, f"{name}.csv", [name])
        refresh(worker)
    assert len(list(Bucket(lake_url).list("versions"))) == 3


def test_a_lost_manifest_and_an_object_overwritten_by_hand_are_healed_by_the_next_run(api, machines, lake_url):
    api(Simulator(delay_scale=0, hold=0))
    worker = machines.use("worker", lake_url)
    submit(worker, "a.csv", [f"s{i}" for i in range(20)])
    refresh(worker)
    before, bucket = table_hashes(worker.data), Bucket(lake_url)
    bucket.delete("staging/manifest.json")
    refresh(worker)
    assert table_hashes(worker.data) == before
    (key,) = [entry.key for entry in worker.data.storage.listing("lake/pulls")]
    for content in (b"by hand", worker.data.current(worker.data.root / "lake/items/items.parquet").read_bytes()):
        bucket.write(key, content)
        refresh(machines.use("worker", lake_url))
        assert table_hashes(worker.data) == before


def test_a_damaged_local_copy_of_a_month_of_the_manifest_is_fetched_again(api, machines, lake_url):
    api(Simulator(delay_scale=0, hold=0))
    worker = machines.use("worker", lake_url)
    submit(worker, "a.csv", ["s1"])
    refresh(worker)
    (copy,) = worker.data.root.glob("staging/manifest/*.json")
    content = copy.read_bytes()
    for damaged in (content[:-1], b""):
        copy.write_bytes(damaged)
        assert Manifest(machines.use("worker", lake_url).data.records).versions(PULLS)
        assert copy.read_bytes() == content


def test_a_damaged_local_copy_of_a_raw_object_is_fetched_again(api, machines, lake_url):
    api(Simulator(delay_scale=0, hold=0))
    worker = machines.use("worker", lake_url)
    submit(worker, "a.csv", [f"s{i}" for i in range(20)])
    derive(worker, PULLS)
    before = table_hashes(worker.data)
    (path,) = worker.data.root.glob("raw/status_responses/*/*.parquet")
    status, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    worker = machines.use("worker", lake_url)
    with worker.builder() as builder:
        builder.forget_all()
    build(worker, PULLS)
    assert table_hashes(worker.data) == before


def test_a_lake_of_another_environment_is_refused_in_one_line(api, machines, lake_url, configure):
    api(Simulator(delay_scale=0, hold=0))
    worker = machines.use("worker", lake_url)
    submit(worker, "a.csv", ["s1"])
    configure(api_url="http://127.0.0.1:9")
    with pytest.raises(DataDirectoryError, match=f"the lake {lake_url} holds data of .*set PHYGITALS_LAKE_URL"):
        machines.use("another", lake_url)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        ("404 Not Found", "NoSuchBucket", "the bucket does not exist"),
        ("403 Forbidden", "InvalidAccessKeyId", "correct AWS_ACCESS_KEY_ID"),
        ("403 Forbidden", "SignatureDoesNotMatch", "correct AWS_SECRET_ACCESS_KEY"),
        ("400 Bad Request", "ExpiredToken", "the credentials have expired"),
        ("403 Forbidden", "AccessDenied", "access is denied"),
        ("301 Moved Permanently", "PermanentRedirect", "correct AWS_REGION"),
    ],
)
def test_a_store_that_refuses_is_one_line_without_a_secret(api, machines, lake_url, s3_server, status, code, words):
    api(Simulator(delay_scale=0, hold=0))
    s3_server.fault = lambda _method, _path: Fault(status, code)
    with pytest.raises(StoreError, match=words) as refused:
        machines.use("worker", lake_url)
    assert "\n" not in str(refused.value)
    assert lake_url in str(refused.value)
    assert KEY not in str(refused.value)
    assert "s3-secret" not in str(refused.value)


def test_a_store_that_answers_503_for_a_while_delays_a_run_and_ends_none(
    api, machines, lake_url, s3_server, monkeypatch
):
    monkeypatch.setattr("pipeline.storage.bucket._LONGEST_BACKOFF", timedelta(milliseconds=1))
    api(Simulator(delay_scale=0, hold=0))
    worker = machines.use("worker", lake_url)
    submit(worker, "a.csv", [f"s{i}" for i in range(10)])
    seen = []

    def every_third(method, path):
        seen.append(path)
        return Fault("503 Service Unavailable", "SlowDown") if len(seen) % 3 == 0 else None

    s3_server.fault = every_third
    refresh(worker)
    assert rows(worker, "SELECT count(*) FROM purchases") == [(10,)]


def test_answers_survive_a_store_that_goes_away_for_good(api, machines, lake_url, s3_server, monkeypatch):
    arrivals = Arrivals()
    api(Simulator(delay_scale=0, hold=0, on_request=arrivals))
    monkeypatch.setattr(Bucket.__init__, "__defaults__", (timedelta(0),))  # a client keeps the time it was made with
    worker = machines.use("worker", lake_url)
    submit(worker, "a.csv", [f"s{i}" for i in range(20)])
    worker.take_in()
    with worker.builder() as builder:
        builder.build(TABLES["pending_sessions"])
    s3_server.fault = lambda method, path: (
        Fault("500 Internal Server Error") if method == "PUT" and ".journal" in path else None
    )
    with pytest.raises(StoreError, match="status 500"):
        worker.poll(lambda _progress: None)
    asked = {session_id for _, session_id in arrivals.times}
    s3_server.fault = lambda _method, _path: None
    before = len(arrivals.times)
    ask(worker)
    assert {session_id for _, session_id in arrivals.times[before:]}.isdisjoint(asked)
