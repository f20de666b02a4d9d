"""Merging the raw answers of past days: no row is missed, doubled or changed, whatever happens in between."""

from __future__ import annotations

import contextlib
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline import steps
from pipeline.schema import PUBLISHED
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.steps import Workspace
from pipeline.storage.connection import connect
from pipeline.storage.errors import StoreError
from pipeline.storage.objects import is_merged
from tests.support.compaction import ROWS_A_RUN, RUNS, answer, let_an_hour_pass, listed, objects, raw_rows
from tests.support.lake import NOW, PAST, compact_at, lake_hashes
from tests.support.workspace import build_all, refresh


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
