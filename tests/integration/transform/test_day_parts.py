"""A day that is cut into parts: the tables are those of an uncut day, and a run derives only the parts it must."""

from __future__ import annotations

import contextlib
import copy
import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import duckdb
import msgspec
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
SESSIONS = 25  # of a run


@contextlib.contextmanager
def cutting():
    """Days are cut into parts of at most 60 rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(day_parts, "MOST_ROWS", 60)
        patch.setattr(raw_parts, "_LEAST_BYTES", 0)
        yield


@pytest.fixture
def cut():
    with cutting():
        yield


@pytest.fixture
def data(tmp_path):
    return directory(tmp_path / "cut")


@dataclass(frozen=True)
class Kept:
    """A day and its data directory, as they were built once."""

    day: BusyDay
    place: Path
    kept: Path

    @classmethod
    def of(cls, day, data):
        kept = data.root.with_name("kept")
        data.root.rename(kept)
        return cls(day, data.root, kept)

    def again(self):
        """The day and its data as they were; the directory is at its first place, because the manifest knows objects by
        place and time."""
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.kept, self.place)
        data = directory(self.place)
        day = copy.deepcopy(self.day, {id(self.day._data): data})
        return day, data


@pytest.fixture(scope="module")
def cut_day(tmp_path_factory):
    """Eight runs from 0 to 20 o'clock, built in parts."""
    data = directory(tmp_path_factory.mktemp("cut_day") / "data")
    day = BusyDay(data)
    day.add_runs(0, 20, 8, SESSIONS)
    with cutting():
        build(data)
    return Kept.of(day, data)


@pytest.fixture(scope="module")
def half_a_day(tmp_path_factory):
    """Three runs from 0 to 12 o'clock, built as one part, and the later runs in raw."""
    data = directory(tmp_path_factory.mktemp("half_a_day") / "data")
    day = BusyDay(data)
    day.add_runs(0, 12, 3, SESSIONS)
    build(data)
    day.add_runs(12, 24, 3, SESSIONS)
    return Kept.of(day, data)


@pytest.fixture(scope="module")
def tables_of_half_a_day(half_a_day, tmp_path_factory):
    """Its tables, built in one go without cuts."""
    return uncut(half_a_day.again()[1], tmp_path_factory.mktemp("uncut") / "data")


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


def uncut(data, folder):
    """The tables of the same raw data without cuts."""
    whole = directory(folder)
    shutil.copytree(data.root / "raw", whole.root / "raw", dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(day_parts, "MOST_ROWS", 1_000_000)
        build(whole)
    assert {*whole.store.parts(PULLS)} == {f"{DAY:%Y-%m-%d}"}
    return content(whole)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_tables_of_a_day_do_not_depend_on_how_it_is_cut(seed, cut, data, tmp_path):
    BusyDay(data, seed).add_runs(0, 24, 8, SESSIONS)
    build(data)
    assert len(data.store.parts(PULLS)) > 3
    found = content(data)
    assert found == uncut(data, tmp_path / "uncut")
    assert {row["status"] for row in found["purchases"]} == {"pending", "fulfilled", "failed", "expired"}
    rules = {row["rule"] for row in found["data_issues"]}
    assert {"contradicting_answer", "lost_answers", "malformed_answer", "missing_link", "unknown_field"} <= rules


def test_an_earlier_day_that_the_published_window_needs_is_whole_however_it_is_cut(cut, cut_day):
    _, data = cut_day.again()
    states = Manifest(data.records).state(PURCHASES).parts.values()
    assert {bool(state.pending_count) for state in states} == {True, False}
    with data.exclusive():
        publish(data, Window(1, (DAY + timedelta(days=1)).date()))
    with duckdb.connect(data.warehouse, read_only=True) as published:
        counts = published.execute("SELECT (SELECT count(*) FROM purchases), (SELECT count(*) FROM pulls)").fetchone()
    assert counts == (len(content(data)["purchases"]), 0)


def test_a_day_built_run_by_run_has_the_tables_of_one_that_is_built_at_once(cut, data, tmp_path):
    day = BusyDay(data)
    for hour in range(0, 24, 8):
        day.add_runs(hour, hour + 8, 2, SESSIONS)
        build(data)
    assert len(data.store.parts(PULLS)) > 3
    assert content(data) == uncut(data, tmp_path / "uncut")


def test_a_run_derives_only_the_parts_with_new_answers(cut, cut_day):
    day, data = cut_day.again()
    before = etags(data)
    moment = DAY + timedelta(hours=21)
    day.add_run(moment, SESSIONS)
    build(data)
    written = parts_written(data, before)
    new = {minute_of(moment), minute_of(moment + timedelta(minutes=12))}
    for name in (FULFILLED_RESULTS.name, "session_day_polls", "final_and_malformed_answers", "unknown_fields"):
        assert written[name], name
        assert all(minutes_of(part)[1] > min(new) and minutes_of(part)[0] <= max(new) for part in written[name]), name
    for name in (PULLS.name, "item_attributes", "item_days"):
        assert 0 < len(written[name]) < len(data.store.parts(PULLS)) / 2, name


def test_a_run_without_new_rows_writes_nothing(cut, cut_day):
    _, data = cut_day.again()
    before = etags(data)
    assert not any(build(data).values())
    assert etags(data) == before


def test_a_late_answer_rebuilds_the_part_of_its_submission(cut, cut_day, tmp_path):
    day, data = cut_day.again()
    before = etags(data)
    day.add_run(DAY + timedelta(hours=21), 1)  # its other answers are for sessions of the runs before 18 o'clock
    build(data)
    written = parts_written(data, before)[PURCHASES.name]
    assert any(minutes_of(part)[1] <= minute_of(DAY + timedelta(hours=18)) for part in written)
    assert all(minutes_of(part)[0] >= minute_of(DAY + timedelta(hours=12)) for part in written)
    assert content(data) == uncut(data, tmp_path / "uncut")


def test_a_full_part_is_cut_further_and_its_neighbours_are_left(cut, cut_day, tmp_path):
    day, data = cut_day.again()
    before, former = etags(data), {*data.store.parts(PULLS)}
    day.add_run(DAY + timedelta(hours=6.1), 120)
    build(data)
    now = {*data.store.parts(PULLS)}
    gone = former - now
    assert gone
    assert all(day_parts.is_cut_further(part, now) for part in gone)
    written = parts_written(data, before)[PULLS.name]
    assert former & now - written
    assert content(data) == uncut(data, tmp_path / "uncut")


def test_a_small_day_stays_whole_and_its_objects_are_not_opened(data, monkeypatch):
    BusyDay(data).add_runs(0, 24, 4, sessions=3)
    monkeypatch.setattr(Store, "spans", None)
    build(data)
    assert {*data.store.parts(PULLS)} == {*data.store.parts(SUBMISSION_DAYS)} == {f"{DAY:%Y-%m-%d}"}


def test_a_day_of_an_earlier_version_is_cut_once(cut, half_a_day, tables_of_half_a_day):
    """Its manifest is one record that knows whole days and nothing of the times of raw objects."""
    _, data = half_a_day.again()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(day_parts, "MOST_ROWS", 1_000_000)
        build(data)
    manifest = Manifest(data.records)
    states = {name: msgspec.to_builtins(manifest.state(table)) for name, table in TABLES.items()}
    for state in states.values():
        state.pop("cuts", None)
    data.records.save("manifest", states)
    build(data)
    assert len(data.store.parts(PULLS)) > 3
    assert content(data) == tables_of_half_a_day
    assert not any(build(data).values())


def test_merging_leaves_the_parts_current_and_a_late_answer_derives_its_own(cut, cut_day, tmp_path, monkeypatch):
    day, data = cut_day.again()
    before = etags(data)
    compact_at(data, AFTERWARDS)
    assert len(data.store.parts(STATUS_RESPONSES)[f"{DAY:%Y-%m-%d}"]) == 1
    with monkeypatch.context() as patch:
        patch.setattr(Store, "spans", None)  # the times of the merged object are known
        assert not any(build(data).values())
    assert etags(data) == before
    day.add_run(DAY + timedelta(hours=3, minutes=10), 1)
    build(data)
    written = parts_written(data, before)
    assert all(len(written[name]) < len(data.store.parts(PULLS)) / 2 for name in (FULFILLED_RESULTS.name, PULLS.name))
    compact_at(data, AFTERWARDS + timedelta(days=1))
    compact_at(data, AFTERWARDS + timedelta(days=1))
    assert not any(build(data).values())
    assert content(data) == uncut(data, tmp_path / "uncut")


def test_a_lost_manifest_of_a_merged_day_costs_one_rebuild(cut, cut_day):
    _, data = cut_day.again()
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
def test_a_kill_while_a_day_is_cut_leaves_the_tables_of_a_rebuild(
    table, after, cut, half_a_day, tables_of_half_a_day, monkeypatch
):
    _, data = half_a_day.again()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        die_after_writing(table, after, patch)
        build(data)
    build(data)
    assert content(data) == tables_of_half_a_day


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


def test_a_part_that_leaves_raw_takes_its_answers_along(cut, cut_day, tmp_path):
    _, data = cut_day.again()
    folder = data.root / "raw" / "status_responses" / f"{DAY:%Y-%m-%d}"
    removed = sorted(folder.glob("*.parquet"))[4]
    shutil.move(removed, tmp_path / "aside.parquet")
    build(data)
    assert content(data) == uncut(data, tmp_path / "without")
    shutil.move(tmp_path / "aside.parquet", removed)
    build(data)
    assert content(data) == uncut(data, tmp_path / "uncut")


def test_the_record_of_a_cut_names_no_answer(cut, cut_day):
    _, data = cut_day.again()
    known = Manifest(data.records).state(STATUS_RESPONSES)
    spans = msgspec.json.encode(known.cuts).decode()
    assert ".parquet" in spans
    assert "r1-" not in spans
    assert known.parts == {}
