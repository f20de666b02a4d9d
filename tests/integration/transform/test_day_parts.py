"""A day that is cut into parts: the tables are those of an uncut day, and a run derives only the parts it must."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta

import duckdb
import pyarrow.parquet as pq
import pytest

from pipeline.publish.warehouse import publish
from pipeline.schema import PUBLISHED, TABLES
from pipeline.schema.intermediate import SUBMISSION_DAYS
from pipeline.schema.raw import PENDING_SESSIONS, STATUS_RESPONSES
from pipeline.schema.staging import FULFILLED_RESULTS, PULLS, PURCHASES
from pipeline.schema.table import Strategy, Zone
from pipeline.storage import day_parts
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.day_parts import minute_of, minutes_of
from pipeline.storage.manifest import Manifest
from pipeline.storage.objects import Store
from pipeline.storage.window import Window
from pipeline.transform import raw_parts
from pipeline.transform.builder import Builder
from tests.support.busy_day import AFTERWARDS, DAY, BusyDay
from tests.support.lake import compact_at

BY_PART = [table for table in TABLES.values() if table.strategy is Strategy.BY_PART and table.zone is not Zone.RAW]
EXPIRE_AFTER = 72_000  # seconds, so that some sessions of the day have expired


@pytest.fixture
def cut(monkeypatch):
    """Days are cut into parts of at most 200 rows."""
    monkeypatch.setattr(day_parts, "MOST_ROWS", 200)
    monkeypatch.setattr(raw_parts, "_LEAST_BYTES", 0)


@pytest.fixture
def data(tmp_path):
    return directory(tmp_path / "cut")


def directory(folder):
    data = DataDirectory(folder)
    data.claim("local", "none")
    return data


def build(data, moment=AFTERWARDS):
    """The parts that were written, by table."""
    with data.exclusive(), Builder(data, moment, EXPIRE_AFTER) as builder:
        builder.build(PENDING_SESSIONS)
        reports = {table.name: builder.build(table) for table in TABLES.values() if table.zone is not Zone.RAW}
    return {name: set(report.written) for name, report in reports.items()}


def content(data):
    """The rows of each published table, in their order."""
    found = {}
    for table in PUBLISHED:
        paths = [path for of_part in data.store.parts(table).values() for path in of_part]
        found[table.name] = [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]
    return found


def etags(data):
    return {table: data.store.etags(table) for table in TABLES.values() if table.zone is not Zone.RAW}


def parts_written(data, before):
    """The parts of tables by part that were written since, by table."""
    return {
        table.name: {
            part
            for part, (path,) in data.store.parts(table).items()
            if before[table].get(path) != data.store.etags(table)[path]
        }
        for table in (*BY_PART, PURCHASES)
    }


def uncut(data, folder, monkeypatch):
    """The tables of the same raw data without cuts."""
    copy = directory(folder)
    shutil.copytree(data.root / "raw", copy.root / "raw", dirs_exist_ok=True)
    with monkeypatch.context() as patch:
        patch.setattr(day_parts, "MOST_ROWS", 1_000_000)
        build(copy)
    assert {*copy.store.parts(PULLS)} == {f"{DAY:%Y-%m-%d}"}
    return content(copy)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_tables_of_a_day_do_not_depend_on_how_it_is_cut(seed, cut, data, tmp_path, monkeypatch):
    BusyDay(data, seed).add_runs(0, 24, 16)
    build(data)
    assert len(data.store.parts(PULLS)) > 6
    found = content(data)
    assert found == uncut(data, tmp_path / "uncut", monkeypatch)
    assert {row["status"] for row in found["purchases"]} == {"pending", "fulfilled", "failed", "expired"}
    rules = {row["rule"] for row in found["data_issues"]}
    assert {"contradicting_answer", "lost_answers", "malformed_answer", "missing_link", "unknown_field"} <= rules


def test_an_earlier_day_that_the_published_window_needs_is_whole_however_it_is_cut(cut, data):
    BusyDay(data).add_runs(0, 24, 16)
    build(data)
    states = Manifest(data.records).state(PURCHASES).parts.values()
    assert {bool(state.pending_count) for state in states} == {True, False}
    with data.exclusive():
        publish(data, Window(1, (DAY + timedelta(days=1)).date()))
    with duckdb.connect(data.warehouse, read_only=True) as published:
        counts = published.execute("SELECT (SELECT count(*) FROM purchases), (SELECT count(*) FROM pulls)").fetchone()
    assert counts == (len(content(data)["purchases"]), 0)


def test_a_day_built_run_by_run_has_the_tables_of_one_that_is_built_at_once(cut, data, tmp_path, monkeypatch):
    day = BusyDay(data)
    for hour in range(0, 24, 6):
        day.add_runs(hour, hour + 6, 4)
        build(data)
    assert len(data.store.parts(PULLS)) > 6
    assert content(data) == uncut(data, tmp_path / "uncut", monkeypatch)


def test_a_run_derives_only_the_parts_with_new_answers(cut, data):
    day = BusyDay(data)
    day.add_runs(0, 20, 14)
    build(data)
    before = etags(data)
    moment = DAY + timedelta(hours=21)
    day.add_run(moment, 60)
    build(data)
    written = parts_written(data, before)
    new = {minute_of(moment), minute_of(moment + timedelta(minutes=12))}
    for name in (FULFILLED_RESULTS.name, "session_day_polls", "final_and_malformed_answers", "unknown_fields"):
        assert written[name], name
        assert all(minutes_of(part)[1] > min(new) and minutes_of(part)[0] <= max(new) for part in written[name]), name
    for name in (PULLS.name, "item_attributes", "item_days"):
        assert 0 < len(written[name]) < len(data.store.parts(PULLS)) / 2, name


def test_a_run_without_new_rows_writes_nothing(cut, data):
    BusyDay(data).add_runs(0, 24, 16)
    build(data)
    before = etags(data)
    assert not any(build(data).values())
    assert etags(data) == before


def test_a_late_answer_rebuilds_the_part_of_its_submission(cut, data, tmp_path, monkeypatch):
    day = BusyDay(data)
    day.add_runs(0, 20, 14)
    build(data)
    before = etags(data)
    day.add_run(DAY + timedelta(hours=21), 1)  # its other answers are for sessions of the run at 19 o'clock
    build(data)
    written = parts_written(data, before)[PURCHASES.name]
    assert any(minutes_of(part)[1] <= minute_of(DAY + timedelta(hours=20)) for part in written)
    assert len(written) < len(data.store.parts(PURCHASES)) / 2
    assert content(data) == uncut(data, tmp_path / "uncut", monkeypatch)


def test_a_full_part_is_cut_further_and_its_neighbours_are_left(cut, data, tmp_path, monkeypatch):
    day = BusyDay(data)
    day.add_runs(0, 12, 12)
    build(data)
    before, former = etags(data), {*data.store.parts(PULLS)}
    day.add_run(DAY + timedelta(hours=6.1), 300)
    build(data)
    now = {*data.store.parts(PULLS)}
    gone = former - now
    assert gone
    assert all(day_parts.is_cut_further(part, now) for part in gone)
    written = parts_written(data, before)[PULLS.name]
    assert former & now - written
    assert content(data) == uncut(data, tmp_path / "uncut", monkeypatch)


def test_a_small_day_stays_whole_and_its_objects_are_not_opened(data, monkeypatch):
    BusyDay(data).add_runs(0, 24, 4, sessions=3)
    monkeypatch.setattr(Store, "spans", None)
    build(data)
    assert {*data.store.parts(PULLS)} == {*data.store.parts(SUBMISSION_DAYS)} == {f"{DAY:%Y-%m-%d}"}


def test_a_day_of_an_earlier_version_is_cut_once(cut, data, monkeypatch):
    """Its manifest knows whole days and nothing of the times of raw objects."""
    BusyDay(data).add_runs(0, 24, 16)
    with monkeypatch.context() as patch:
        patch.setattr(day_parts, "MOST_ROWS", 1_000_000)
        build(data)
    known = data.records.load("manifest", dict[str, dict[str, object]])
    for state in known.values():
        state.pop("cuts", None)
    data.records.save("manifest", known)
    whole = content(data)
    build(data)
    assert len(data.store.parts(PULLS)) > 6
    assert content(data) == whole
    assert not any(build(data).values())


def test_merging_leaves_the_parts_current_and_a_late_answer_derives_its_own(cut, data, tmp_path, monkeypatch):
    day = BusyDay(data)
    day.add_runs(0, 20, 14)
    build(data)
    before = etags(data)
    compact_at(data, AFTERWARDS)
    assert len(data.store.parts(STATUS_RESPONSES)[f"{DAY:%Y-%m-%d}"]) == 1
    with monkeypatch.context() as patch:
        patch.setattr(Store, "spans", None)  # the times of the merged object are known
        assert not any(build(data).values())
    assert etags(data) == before
    day.add_run(DAY + timedelta(hours=3, minutes=10), 5)
    build(data)
    written = parts_written(data, before)
    assert all(len(written[name]) < len(data.store.parts(PULLS)) / 2 for name in (FULFILLED_RESULTS.name, PULLS.name))
    compact_at(data, AFTERWARDS + timedelta(days=1))
    compact_at(data, AFTERWARDS + timedelta(days=1))
    assert not any(build(data).values())
    assert content(data) == uncut(data, tmp_path / "uncut", monkeypatch)


def test_a_lost_manifest_of_a_merged_day_costs_one_rebuild(cut, data, tmp_path, monkeypatch):
    BusyDay(data).add_runs(0, 24, 16)
    build(data)
    expected = content(data)
    compact_at(data, AFTERWARDS)
    data.records.forget("manifest")
    build(data)
    assert content(data) == expected
    assert not any(build(data).values())


class Killed(BaseException):
    """Ends the work as a kill does."""


@pytest.mark.parametrize(
    ("table", "after"),
    [(FULFILLED_RESULTS, 1), (PURCHASES, 1), (PURCHASES, 3), (PULLS, 2), (SUBMISSION_DAYS, 1)],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_a_kill_while_a_day_is_cut_leaves_the_tables_of_a_rebuild(table, after, cut, data, tmp_path, monkeypatch):
    day = BusyDay(data)
    day.add_runs(0, 12, 12)
    with monkeypatch.context() as patch:
        patch.setattr(day_parts, "MOST_ROWS", 1_000_000)
        build(data)
    day.add_runs(12, 24, 12)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        die_after_writing(table, after, patch)
        build(data)
    build(data)
    found = content(data)
    with data.exclusive(), Builder(data, AFTERWARDS, EXPIRE_AFTER) as builder:
        builder.forget_all()
    build(data)
    assert content(data) == found == uncut(data, tmp_path / "uncut", monkeypatch)


def die_after_writing(table, count, monkeypatch):
    def write_and_die(self, written, *arguments):
        nonlocal count
        result = write(self, written, *arguments)
        count -= written is table
        if count == 0:
            raise Killed
        return result

    write = Store.write
    monkeypatch.setattr(Store, "write", write_and_die)


def test_a_part_that_leaves_raw_takes_its_answers_along(cut, data, tmp_path, monkeypatch):
    day = BusyDay(data)
    day.add_runs(0, 20, 14)
    build(data)
    folder = data.root / "raw" / "status_responses" / f"{DAY:%Y-%m-%d}"
    removed = sorted(folder.glob("*.parquet"))[7]
    shutil.move(removed, tmp_path / "aside.parquet")
    build(data)
    assert content(data) == uncut(data, tmp_path / "without", monkeypatch)
    shutil.move(tmp_path / "aside.parquet", removed)
    build(data)
    assert content(data) == uncut(data, tmp_path / "uncut", monkeypatch)


def test_the_record_of_a_cut_names_no_answer(cut, data):
    BusyDay(data).add_runs(0, 24, 16)
    build(data)
    known = data.records.load("manifest", dict[str, dict[str, object]])
    spans = json.dumps(known["status_responses"]["cuts"])
    assert "r1-" not in spans
    assert {*known["status_responses"]["parts"]} == set()
