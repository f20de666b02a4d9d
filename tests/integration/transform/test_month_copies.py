"""Queries of whole tables read copies of the months that are over: the same rows, and no copy is out of date."""

from __future__ import annotations

import copy
import shutil
from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq
import pytest

from pipeline.quality.lake_parts import LakeParts
from pipeline.schema import TABLES
from pipeline.schema.items import ITEM_DAYS
from pipeline.schema.raw import PENDING_SESSIONS
from pipeline.schema.staging import PURCHASES
from pipeline.schema.table import Zone
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.month_copies import MonthCopies
from pipeline.transform import whole_tables
from pipeline.transform.builder import Builder
from tests.support.busy_day import BusyDay

DAYS = [
    datetime(2026, *day, 5, tzinfo=UTC) for day in ((1, 29), (1, 30), (1, 31), (2, 1), (2, 2), (2, 27), (3, 1), (3, 2))
]
LATER = datetime(2026, 3, 4, tzinfo=UTC)


@pytest.fixture(autouse=True)
def few_parts_are_copied(monkeypatch):
    monkeypatch.setattr(whole_tables, "LEAST_PARTS", 2)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Days of three months, of which the first was built before the others came."""
    data = directory(tmp_path_factory.mktemp("built") / "data")
    life = BusyDay(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole_tables, "LEAST_PARTS", 2)
        for number, day in enumerate(DAYS):
            life.add_run(day, 12)
            if number == 3:
                build(data)
        build(data)
    return life, data


@pytest.fixture
def history(built, tmp_path):
    """A copy of these days, to which a test may add."""
    shutil.copytree(built[1].root, tmp_path / "data")
    life = copy.copy(built[0])
    life._data = DataDirectory(tmp_path / "data")
    return life, life._data


def directory(folder):
    data = DataDirectory(folder)
    data.claim("local", "none")
    return data


def with_sources(*names):
    """The names of tables and of all that they are derived from."""
    return {*names}.union(*(with_sources(*TABLES[name].sources) for name in names))


BUILT = with_sources("items", "users", "resolution_funnel", "data_issues")  # which read others whole


def build(data):
    with data.exclusive(), Builder(data, LATER, 0) as builder:
        builder.build(PENDING_SESSIONS)
        for table in TABLES.values():
            if table.name in BUILT and table.zone is not Zone.RAW:
                builder.build(table)


def rows(data):
    found = {}
    for table in (table for table in TABLES.values() if table.zone is not Zone.RAW):
        paths = [path for of_part in data.store.parts(table).values() for path in of_part]
        found[table.name] = [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]
    return found


def copies(data, table=ITEM_DAYS):
    """The names of a table's copies by month."""
    names = sorted(MonthCopies(data.storage).names(table))
    assert len({name[:7] for name in names}) == len(names)
    return {name[:7]: name for name in names}


def rows_without_copies(data, folder, monkeypatch):
    """The tables of the same raw data, built at once and from parts alone."""
    other = directory(folder / "without")
    shutil.copytree(data.root / "raw", other.root / "raw", dirs_exist_ok=True)
    with monkeypatch.context() as patch:
        patch.setattr(whole_tables, "LEAST_PARTS", 1_000)
        build(other)
    assert copies(other) == {}
    return rows(other)


def test_the_tables_are_those_of_a_lake_without_copies_and_the_latest_month_has_none(history, tmp_path, monkeypatch):
    _, data = history
    assert copies(data).keys() == copies(data, PURCHASES).keys() == {"2026-01", "2026-02"}
    found = rows(data)
    assert found["items"] and found["data_issues"]
    assert found == rows_without_copies(data, tmp_path, monkeypatch)


def test_a_late_answer_replaces_the_copy_of_its_month(history, tmp_path, monkeypatch):
    life, data = history
    before = copies(data)
    life.add_run(DAYS[5] + timedelta(hours=1), 12)
    build(data)
    after = copies(data)
    assert after["2026-01"] == before["2026-01"]
    assert after["2026-02"] != before["2026-02"]
    assert rows(data) == rows_without_copies(data, tmp_path, monkeypatch)


@pytest.mark.parametrize("harm", ["flipped", "cut", "gone"])
def test_a_copy_that_is_damaged_or_gone_is_made_again(history, harm, tmp_path, monkeypatch):
    life, data = history
    path = data.root / "staging" / "months" / "item_days" / f"{copies(data)['2026-01']}.parquet"
    content = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:40] if harm == "cut" else content[:40] + bytes([content[40] ^ 1]) + content[41:])
    life.add_run(DAYS[-1] + timedelta(hours=1), 12)
    build(data)
    assert path.read_bytes() == content
    assert rows(data) == rows_without_copies(data, tmp_path, monkeypatch)


def test_a_check_reads_the_copies_but_of_a_month_with_a_part_that_changed_since(history):
    _, data = history
    names = copies(data)
    part = data.store.parts(ITEM_DAYS)["2026-01-30"]
    before = LakeParts(data, ["status"]).whole(ITEM_DAYS)
    assert names["2026-01"] in before and names["2026-02"] in before
    data.store.write(ITEM_DAYS, "2026-01-30", pq.read_table(part[0]).to_batches())
    after = LakeParts(data, ["status"]).whole(ITEM_DAYS)
    assert "/2026-01-30.parquet" in after and names["2026-01"] not in after
    assert names["2026-02"] in after


def test_months_with_large_parts_are_read_as_they_are(history, tmp_path, monkeypatch):
    life, data = history
    monkeypatch.setattr(whole_tables, "MOST_BYTES", 1)
    life.add_run(DAYS[-1] + timedelta(hours=1), 12)
    build(data)
    assert copies(data) == {}
    assert rows(data) == rows_without_copies(data, tmp_path, monkeypatch)
