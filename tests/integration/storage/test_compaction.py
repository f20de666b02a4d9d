"""Merging the raw answers of past days: no row is missed, doubled or changed, whatever happens in between."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline import steps
from pipeline.cli.refresh import run_refresh
from pipeline.schema import PUBLISHED
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.simulator.server import PENDING, Simulator
from pipeline.steps import Workspace
from pipeline.storage import raw_log
from pipeline.storage.compaction import GRACE
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.errors import DamagedFileError, StoreError
from pipeline.storage.objects import is_merged
from pipeline.storage.raw_log import Response, ResponseLog
from tests.support.answers import fulfilled
from tests.support.lake import NOW, PAST, compact_at, lake_hashes
from tests.support.workspace import build_all, drop, refresh

RUNS = 5
ROWS_A_RUN = 30


@pytest.fixture
def workspace(api):
    """Two past days of several runs each, and a today of several runs."""
    api(Simulator(delay_scale=0, hold=0))
    workspace = Workspace.open()
    drop(workspace, "a.txt", "\n".join(f"s{i}" for i in range(3 * RUNS * ROWS_A_RUN)))
    workspace.take_in()
    for day, midday in enumerate((PAST, PAST + timedelta(days=1), NOW)):
        for run in range(RUNS):
            answer(workspace, midday + timedelta(seconds=run), (day * RUNS + run) * ROWS_A_RUN)
    return workspace


def answer(workspace, moment, first_session=0):
    """One run's answers: for each session a pending one and a final one, all of the same moment."""
    log = ResponseLog(workspace.data, STATUS_RESPONSES, moment)
    at = int(moment.timestamp() * 1_000_000)
    for i in reversed(range(first_session, first_session + ROWS_A_RUN)):
        for body, outcome in ((PENDING.body, "pending"), (fulfilled(f"s{i}", {"id": f"i{i}"}).body, "fulfilled")):
            log.append(Response(f"s{i}", at, at, 200, "application/json", body, outcome, None))
    log.append(Response("s0", at, at, None, None, None, "transient", "broke off"))
    log.append(Response("s0", at, at, 200, None, bytes(range(256)), "malformed", "not UTF-8"))
    log.close()


def raw_rows(data):
    with connect(data) as connection:
        return connection.execute(f"FROM {data.store.scan(STATUS_RESPONSES)}").fetchall()


def objects(data, day=None):
    """What lies in the folder, replaced or not, and when it was written."""
    paths = (data.root / "raw" / "status_responses").glob(f"{day or '*'}/*.parquet")
    return {(path.parent.name, path.name): path.stat().st_mtime_ns for path in paths}


def listed(data):
    return {day: len(paths) for day, paths in data.store.parts(STATUS_RESPONSES).items()}


def let_an_hour_pass(data, until=NOW, hours=1.0):
    """Lets the merged objects be so old at a moment."""
    at = (until - hours * GRACE).timestamp()
    for path in (data.root / "raw").rglob("merged-*.parquet"):
        os.utime(path, (at, at))


def derived_files(workspace):
    """Every derived file, and when it was written. Who is pending depends on the time and is written each time."""
    found = (path for zone in ("lake", "staging") for path in (workspace.data.root / zone).rglob("*.parquet"))
    return {str(path): path.stat().st_mtime_ns for path in found if path.stem != "pending_sessions"}


def test_the_rows_and_their_order_are_the_same_after_the_merge_and_after_the_deletion(workspace):
    before = raw_rows(workspace.data)
    compact_at(workspace.data)
    assert raw_rows(workspace.data) == before
    assert listed(workspace.data) == {"2026-03-01": 1, "2026-03-02": 1, "2026-03-03": RUNS}
    assert len(objects(workspace.data, "2026-03-01")) == RUNS + 1
    let_an_hour_pass(workspace.data)
    compact_at(workspace.data)
    assert raw_rows(workspace.data) == before
    assert len(objects(workspace.data, "2026-03-01")) == 1


def test_the_objects_of_today_are_left_alone_until_the_day_is_over(workspace):
    today = "2026-03-03"
    before = objects(workspace.data, today)
    for moment in (NOW, datetime(2026, 3, 3, 23, 59, 59, tzinfo=UTC)):
        compact_at(workspace.data, moment)
    assert objects(workspace.data, today) == before
    compact_at(workspace.data, datetime(2026, 3, 4, tzinfo=UTC))
    assert listed(workspace.data)[today] == 1


def test_a_day_with_one_object_is_left_alone(workspace):
    answer(workspace, PAST - timedelta(days=1))
    compact_at(workspace.data)
    ((_, name),) = objects(workspace.data, "2026-02-28")
    assert not is_merged(name)


def test_once_done_it_does_nothing_more(workspace):
    compact_at(workspace.data)
    merged = objects(workspace.data)
    compact_at(workspace.data)
    assert objects(workspace.data) == merged
    let_an_hour_pass(workspace.data)
    compact_at(workspace.data)
    deleted = objects(workspace.data)
    assert deleted.keys() < merged.keys()
    let_an_hour_pass(workspace.data)
    compact_at(workspace.data)
    assert objects(workspace.data) == deleted


def test_a_damaged_raw_object_keeps_a_run_neither_from_publishing_nor_from_reporting(workspace):
    build_all(workspace)
    damaged = max((workspace.data.root / "raw" / "status_responses" / "2026-03-02").glob("*.parquet"))
    group = pq.read_metadata(damaged).row_group(0)
    (body,) = [c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == "body"]
    content = bytearray(damaged.read_bytes())
    content[body.data_page_offset : body.data_page_offset + 40] = bytes(40)
    damaged.write_bytes(content)
    workspace.data.report.unlink(missing_ok=True)
    told: list[str] = []
    run_refresh(told.append, lambda _progress: None)
    (line,) = [line for line in told if "not merged" in line]
    assert damaged.name in line and "restore it from a backup" in line
    assert workspace.data.report.exists()


def test_derived_tables_are_neither_changed_nor_built_again(workspace):
    build_all(workspace)
    before, hashes = derived_files(workspace), lake_hashes(workspace)
    for _ in range(2):
        compact_at(workspace.data)
        let_an_hour_pass(workspace.data)
        build_all(workspace)
        assert derived_files(workspace) == before
    for path in derived_files(workspace):
        Path(path).unlink()
    build_all(workspace)
    assert lake_hashes(workspace) == hashes


def test_a_reader_that_listed_the_objects_before_the_merge_can_read_them_for_an_hour(workspace):
    before = raw_rows(workspace.data)
    listed_before = workspace.data.store.scan(STATUS_RESPONSES)
    compact_at(workspace.data)
    let_an_hour_pass(workspace.data, hours=0.99)
    compact_at(workspace.data)
    with connect(workspace.data) as connection:
        assert connection.execute(f"FROM {listed_before}").fetchall() == before
    let_an_hour_pass(workspace.data)
    compact_at(workspace.data)
    gone = pytest.raises(StoreError, match="was deleted while it was being read: run again")
    with gone, connect(workspace.data) as connection:
        connection.execute(f"FROM {listed_before}").fetchall()


def test_a_reader_never_counts_a_row_too_few_or_too_many(workspace):
    for day in range(1, 16):
        for run in range(3):
            answer(workspace, PAST - timedelta(days=day, seconds=run))
    expected = len(raw_rows(workspace.data))
    with reading_all_the_time(workspace) as counts:
        compact_at(workspace.data)
        # Whoever listed the objects before the merge is done when the hour is over.
        wait_for_more(counts, 2)
        let_an_hour_pass(workspace.data)
        compact_at(workspace.data)
        wait_for_more(counts, 2)
    assert len(counts) > 10
    assert set(counts) == {expected}
    assert set(listed(workspace.data).values()) == {1, RUNS}


@contextlib.contextmanager
def reading_all_the_time(workspace):
    """Counts the rows again and again in another thread, as a reader without any lock does."""
    counts: list[int | str] = []
    stop = threading.Event()

    def read():
        store = Workspace.open().data.store
        with connect(workspace.data) as connection:
            while not stop.is_set():
                try:
                    scan = store.scan(STATUS_RESPONSES)
                    ((count,),) = connection.execute(f"SELECT count(*) FROM {scan}").fetchall()
                    counts.append(count)
                except Exception as error:
                    counts.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        wait_for_more(counts, 2)
        yield counts
    finally:
        stop.set()
        reader.join()


def wait_for_more(counts, number):
    wanted, deadline = len(counts) + number, time.monotonic() + 30
    while len(counts) < wanted:
        assert time.monotonic() < deadline
        time.sleep(0.005)


COMPACT_UNTIL_KILLED = """
import os, sys
from datetime import datetime
from pathlib import Path
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.storage import compaction, local_folder, object_writer, objects
from pipeline.storage.data_directory import DataDirectory

root, moment, steps_left = Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2]), int(sys.argv[3])

def step(function):
    def count(*arguments):
        global steps_left
        if not steps_left:
            os._exit(9)
        steps_left -= 1
        return function(*arguments)
    return count

writer = object_writer.ObjectWriter
writer._write_group, writer._publish = step(writer._write_group), step(writer._publish)
local_folder.sync = step(local_folder.sync)  # of the file before it gets its name, and of the folder after
objects.Store.remove = step(objects.Store.remove)
data = DataDirectory(root)
with data.exclusive():
    compaction.compact(data, STATUS_RESPONSES, moment)
"""
STEPS_OF_A_MERGE = 4  # a row group, the publication, and a sync on either side of the renaming
STEPS_OF_A_DELETION = RUNS


@pytest.mark.parametrize("is_merged_already", [False, True])
def test_a_kill_at_any_step_of_the_merge_or_the_deletion_leaves_every_row_once(is_merged_already, workspace, tmp_path):
    moment = PAST + timedelta(days=1)
    before = raw_rows(workspace.data)
    if is_merged_already:
        compact_at(workspace.data, moment)
        let_an_hour_pass(workspace.data, moment)
    steps = STEPS_OF_A_DELETION if is_merged_already else STEPS_OF_A_MERGE
    for steps_done in range(steps + 1):
        root = shutil.copytree(workspace.data.root, tmp_path / f"killed after {steps_done}")
        arguments = [sys.executable, "-c", COMPACT_UNTIL_KILLED, root, moment.isoformat(), str(steps_done)]
        assert subprocess.run(arguments, check=False, timeout=60).returncode == (0 if steps_done == steps else 9)
        data = DataDirectory(root)
        assert raw_rows(data) == before
        for _ in range(2):
            compact_at(data, moment)
            assert raw_rows(data) == before
            let_an_hour_pass(data, moment)
        assert len(objects(data, "2026-03-01")) == 1
        assert list((root / "raw").rglob(".*.tmp")) == []


COMPACT_AND_TELL_MEMORY = """
import sys
from datetime import datetime
from pathlib import Path
import pyarrow as pa
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.storage.compaction import compact
from pipeline.storage.data_directory import DataDirectory

data = DataDirectory(Path(sys.argv[1]))
with data.exclusive():
    compact(data, STATUS_RESPONSES, datetime.fromisoformat(sys.argv[2]))
print(pa.default_memory_pool().max_memory())
"""


def test_a_merge_holds_a_small_part_of_the_day_in_memory(workspace):
    at = int(PAST.timestamp() * 1_000_000)
    for _ in range(3):
        log = ResponseLog(workspace.data, STATUS_RESPONSES, PAST)
        for i in range(400):
            log.append(Response(f"s{i}", at, at, 200, None, os.urandom(100_000), "malformed", "x"))
            if log.is_full:
                log.write(log.take())
        log.close()
    size = sum(path.stat().st_size for path in (workspace.data.root / "raw").rglob("2026-03-01/*.parquet"))
    arguments = [sys.executable, "-c", COMPACT_AND_TELL_MEMORY, workspace.data.root, NOW.isoformat()]
    peak = int(subprocess.run(arguments, check=True, capture_output=True, timeout=60).stdout)
    assert size > 100_000_000
    assert peak < size / 2


def test_answers_that_come_for_a_merged_day_are_merged_into_it_and_change_only_that_day(workspace):
    build_all(workspace)
    before = raw_rows(workspace.data)
    compact_at(workspace.data)
    answer(workspace, PAST)
    compact_at(workspace.data)
    assert listed(workspace.data)["2026-03-01"] == 2
    let_an_hour_pass(workspace.data)
    compact_at(workspace.data)
    build_all(workspace)
    derived, rows = derived_files(workspace), sorted(raw_rows(workspace.data), key=str)
    assert len(rows) == len(before) + 2 * ROWS_A_RUN + 2
    for _ in range(2):
        let_an_hour_pass(workspace.data)
        compact_at(workspace.data)
        assert listed(workspace.data)["2026-03-01"] == 1
        assert sorted(raw_rows(workspace.data), key=str) == rows
        build_all(workspace)
        assert derived_files(workspace) == derived
        let_an_hour_pass(workspace.data)
    assert len(objects(workspace.data, "2026-03-01")) == 1


def test_a_journal_that_is_sealed_once_more_after_the_merge_doubles_nothing(workspace):
    log = ResponseLog(workspace.data, STATUS_RESPONSES, PAST)
    at = int(PAST.timestamp() * 1_000_000)
    log.append(Response("s0", at, at, 200, None, PENDING.body, "pending", None))
    log.write(log.take())
    (journal,) = workspace.data.journal(STATUS_RESPONSES).glob("*.journal")
    content = journal.read_bytes()
    log.close()
    before = raw_rows(workspace.data)
    for _ in range(3):
        compact_at(workspace.data)
        let_an_hour_pass(workspace.data)
        journal.write_bytes(content)
        with workspace.data.exclusive():
            raw_log.recover(workspace.data, STATUS_RESPONSES)
        assert raw_rows(workspace.data) == before
    answer(workspace, PAST)
    let_an_hour_pass(workspace.data)
    compact_at(workspace.data)
    let_an_hour_pass(workspace.data)
    compact_at(workspace.data)
    let_an_hour_pass(workspace.data)
    compact_at(workspace.data)
    assert len(objects(workspace.data, "2026-03-01")) == 1
    before = raw_rows(workspace.data)
    journal.write_bytes(content)
    with workspace.data.exclusive():
        raw_log.recover(workspace.data, STATUS_RESPONSES)
    assert raw_rows(workspace.data) == before


def test_originals_are_kept_when_the_merged_object_does_not_hold_their_rows(workspace):
    before = raw_rows(workspace.data)
    compact_at(workspace.data)
    folder = workspace.data.root / "raw" / "status_responses" / "2026-03-01"
    (merged,) = folder.glob("merged-*")
    content = merged.read_bytes()
    with workspace.data.store.writer(
        STATUS_RESPONSES, "2026-03-01", merged.stem, workspace.data.store.names_replaced(str(merged))
    ) as writer:
        writer.write(next(workspace.data.store.read(str(folder / sorted(objects(workspace.data, "2026-03-01"))[0][1]))))
    with pytest.raises(StoreError, match=r"merged-\w+\.parquet does not contain the rows .* kept: delete it"):
        let_an_hour_pass(workspace.data)
        compact_at(workspace.data)
    assert len(objects(workspace.data, "2026-03-01")) == RUNS + 1
    merged.unlink()
    assert raw_rows(workspace.data)[: RUNS * (2 * ROWS_A_RUN + 2)] == before[: RUNS * (2 * ROWS_A_RUN + 2)]
    let_an_hour_pass(workspace.data)
    compact_at(workspace.data)
    assert merged.read_bytes() == content


def test_a_damaged_object_stops_the_merge_by_name_and_everything_stays(workspace):
    ((day, name), *_) = sorted(objects(workspace.data))
    path = workspace.data.root / "raw" / "status_responses" / day / name
    path.write_bytes(path.read_bytes()[:-100])
    before = objects(workspace.data)
    with pytest.raises(DamagedFileError, match=f"{name} cannot be read: .*restore it from a backup"):
        compact_at(workspace.data)
    assert objects(workspace.data) == before


def test_a_damaged_merged_object_is_told_by_name(workspace):
    compact_at(workspace.data)
    (path, *_) = sorted((workspace.data.root / "raw").rglob("merged-*.parquet"))
    path.write_bytes(b"")
    with pytest.raises(DamagedFileError, match=f"{path.name} cannot be read: .*restore it from a backup"):
        Workspace.open().data.store.parts(STATUS_RESPONSES)


def test_a_refresh_merges_what_is_over_when_all_is_published(workspace, monkeypatch):
    monkeypatch.setattr(steps, "now", lambda: NOW)
    refresh(workspace)
    published = lake_hashes(workspace)
    assert listed(workspace.data) == {"2026-03-01": 1, "2026-03-02": 1, "2026-03-03": RUNS}
    let_an_hour_pass(workspace.data)
    refresh(workspace)
    assert len(objects(workspace.data, "2026-03-01")) == 1
    assert lake_hashes(workspace) == published
    with workspace.builder() as builder:
        assert [builder.build(table).written for table in PUBLISHED] == [[] for _ in PUBLISHED]
