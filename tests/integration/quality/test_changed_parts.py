"""Checks of a lake of many parts: a run looks at the changed ones, and finds what it would find in all of them."""

from __future__ import annotations

import dataclasses
import os
import shutil
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.quality import checker as checker_module
from pipeline.quality.checker import CHECKS, Checker, checks_of
from pipeline.schema import TABLES
from pipeline.schema.raw import SESSION_SUBMISSIONS
from pipeline.schema.staging import ITEM_ATTRIBUTES, PULLS, PURCHASES
from pipeline.schema.table import Partition, Zone
from pipeline.storage import day_parts
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.day_parts import day_of
from pipeline.transform import raw_parts
from pipeline.transform.builder import Builder
from tests.support.broken_lake import break_for, table_changed_by
from tests.support.busy_day import AFTERWARDS, DAY, BusyDay

pytestmark = pytest.mark.one_python

CUT = [check for check in CHECKS if check.cut_by is not Partition.NONE and check.table.zone is Zone.LAKE]
CHECKED = list({check.table.name: check.table for check in CHECKS}.values())


@pytest.fixture(autouse=True, scope="module")
def cut():
    """Days are cut into parts of at most 200 rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(day_parts, "MOST_ROWS", 200)
        patch.setattr(raw_parts, "_LEAST_BYTES", 0)
        yield


def directory(folder):
    data = DataDirectory(folder)
    data.claim("local", "none")
    return data


def build(data):
    with data.exclusive(), Builder(data, AFTERWARDS, expire_after=0) as builder:
        for table in TABLES.values():
            if table.zone is not Zone.RAW:
                builder.build(table)


def found(data, *tables):
    """What a run finds, which knows what earlier runs looked at."""
    with Checker(data, lambda: AFTERWARDS) as checker:
        computed = [checker.findings(checks_of(table)) for table in tables or CHECKED]
        return {check.key: finding for of_table in computed for check, finding in of_table.items()}


def in_everything(data, *tables):
    """What the checks find in all rows."""
    with Checker(data, lambda: AFTERWARDS) as checker:
        computed = [checker.compute(checks_of(table)) for table in tables or CHECKED]
        return {check.key: finding for of_table in computed for check, finding in of_table.items()}


def said(findings):
    """The number of offenders, and the examples if they are all. Their order is that of DuckDB's threads."""
    return {
        key: (found.offender_count, sorted(found.examples) if len(found.examples) == found.offender_count else None)
        for key, found in findings.items()
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A lake of many parts in which no cut check has found anything."""
    data = directory(tmp_path_factory.mktemp("lake"))
    BusyDay(data, is_plain=True).add_runs(0, 24, 16)
    build(data)
    assert len(data.store.parts(PULLS)) > 3
    findings = found(data)
    assert {check.key for check in CUT if findings[check.key].message} == set()
    return data


@pytest.fixture
def lake(plain):
    """The same lake, whose changes are undone afterwards."""
    kept = {path: (path.read_bytes(), path.stat()) for path in plain.root.rglob("*") if path.is_file()}
    yield plain
    for path in plain.root.rglob("*"):
        if path.is_file() and path not in kept:
            path.unlink()
    for path, (content, state) in kept.items():
        path.write_bytes(content)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.fixture
def checked_whole(monkeypatch):
    """The checks that are computed on all rows."""
    seen = []

    def run(check, connection):
        seen.append(check.key)
        return computed(check, connection)

    computed = checker_module.run
    monkeypatch.setattr(checker_module, "run", run)
    return seen


def latest(data, table):
    """The object of the table's latest part."""
    (path,) = max(data.store.parts(table).items())[1]
    return Path(path)


def change(data, path, table, statement):
    """Changes rows of one object, as a fault of the derivation would."""
    with connect(data) as connection:
        connection.execute(f"CREATE TABLE {table.name} AS FROM '{path}'")
        connection.execute(statement)
        changed = connection.execute(f"FROM {table.name}").to_arrow_table()
    schema = pa.schema([field.with_nullable(True) for field in table.arrow_schema])
    pq.write_table(changed.cast(schema), path)


@pytest.mark.parametrize("check", CUT, ids=lambda check: check.key)
def test_what_breaks_a_rule_in_one_part_is_found_as_it_is_in_all_of_them(check, lake):
    statement = break_for(check)
    table = table_changed_by(statement)
    path = latest(lake, table)
    with connect(lake) as connection:
        (session,) = connection.execute(f"SELECT min(session_id) FROM '{path}'").fetchone() or ()
    change(lake, path, table, statement.replace("'s1'", f"'{session}'"))
    findings = found(lake, check.table)
    assert findings[check.key].offender_count > 0
    assert said(findings) == said(in_everything(lake, check.table))


def test_only_changed_parts_are_looked_at(lake, checked_whole):
    change(lake, latest(lake, PULLS), PULLS, "UPDATE pulls SET name = 'Another'")
    found(lake, PULLS)
    assert {key for key in checked_whole if key.startswith("pulls.")} == {"pulls.quotes_are_within_the_tiers"}


def test_rows_of_a_session_in_a_second_part_are_found(lake):
    earlier = Path(min(lake.store.parts(PULLS).items())[1][0])
    change(lake, latest(lake, PULLS), PULLS, f"INSERT INTO pulls FROM '{earlier}' LIMIT 1")
    assert found(lake, PULLS)["pulls.key_is_unique"].offender_count == 1


def test_a_purchase_in_a_second_part_is_found(lake):
    earlier = Path(min(lake.store.parts(PURCHASES).items())[1][0])
    change(lake, latest(lake, PURCHASES), PURCHASES, f"INSERT INTO purchases FROM '{earlier}' LIMIT 1")
    assert found(lake, PURCHASES)["purchases.key_is_unique"].offender_count == 1


def test_resolutions_without_an_answer_at_their_time_are_found_though_no_answer_changed(lake):
    move = "UPDATE purchases SET resolved_at = resolved_at - INTERVAL 12 HOUR WHERE status = 'fulfilled'"
    change(lake, latest(lake, PURCHASES), PURCHASES, move)
    findings = found(lake, PURCHASES, PULLS, ITEM_ATTRIBUTES)
    assert findings["purchases.every_resolution_is_an_answer"].offender_count > 0
    assert said(findings) == said(in_everything(lake, PURCHASES, PULLS, ITEM_ATTRIBUTES))


def test_rows_left_in_the_part_of_a_former_resolution_are_found(lake):
    """The session's purchase and its rows in the new part are right, and those in the old part have not changed."""
    old, new = latest(lake, PULLS), Path(min(lake.store.parts(PULLS).items())[1][0])
    with connect(lake) as connection:
        (session,) = connection.execute(f"SELECT min(session_id) FROM '{old}'").fetchone() or ()
    change(lake, new, PULLS, f"INSERT INTO pulls FROM '{old}' WHERE session_id = '{session}'")
    time = f"(SELECT min(resolved_at) FROM '{new}')"
    for path in (path for (path,) in lake.store.parts(PURCHASES).values()):
        change(lake, Path(path), PURCHASES, f"UPDATE purchases SET resolved_at = {time} WHERE session_id = '{session}'")
    assert found(lake, PULLS)["pulls.key_is_unique"].offender_count > 0


def test_rows_left_in_a_former_part_are_found_when_the_new_part_gets_its_rows_in_a_later_run(lake):
    """Meanwhile the session has its rows once, in the wrong part, which is no offence."""
    old, new = latest(lake, PULLS), Path(min(lake.store.parts(PULLS).items())[1][0])
    with connect(lake) as connection:
        (session,) = connection.execute(f"SELECT min(session_id) FROM '{old}'").fetchone() or ()
    time = f"(SELECT min(resolved_at) FROM '{new}')"
    for path in (path for (path,) in lake.store.parts(PURCHASES).values()):
        change(lake, Path(path), PURCHASES, f"UPDATE purchases SET resolved_at = {time} WHERE session_id = '{session}'")
    assert found(lake, PULLS)["pulls.refers_to_purchases"].offender_count == 0
    change(lake, new, PULLS, f"INSERT INTO pulls FROM '{old}' WHERE session_id = '{session}'")
    assert found(lake, PULLS)["pulls.key_is_unique"].offender_count > 0


def test_a_session_whose_first_submission_leaves_raw_keeps_a_purchase_and_its_loss_is_found(tmp_path):
    data = directory(tmp_path / "days")
    days = BusyDay(data, is_plain=True)
    for number in range(6):  # each file repeats two sessions of an earlier one
        days.add_run(DAY + timedelta(days=number, hours=12), 4)
    build(data)
    found(data)
    shutil.rmtree(f"{data.store.folder(SESSION_SUBMISSIONS)}/{DAY:%Y-%m-%d}")
    build(data)
    key = "purchases.every_accepted_session_is_a_purchase"
    assert found(data, PURCHASES)[key].offender_count == 0
    for path in (path for (path,) in data.store.parts(PURCHASES).values()):
        change(data, Path(path), PURCHASES, "DELETE FROM purchases WHERE session_id = 'r1-0'")
    findings = found(data, PURCHASES)
    assert findings[key].offender_count > 0
    assert said(findings) == said(in_everything(data, PURCHASES))


def test_a_check_that_is_executed_while_a_run_replaces_a_part_does_not_count_for_the_new_rows(lake):
    def run(check, connection):
        finding = computed(check, connection)
        if check.key == "pulls.key_is_unique":
            path = latest(lake, PULLS)
            change(lake, path, PULLS, f"INSERT INTO pulls FROM '{path}' LIMIT 1")
        return finding

    computed = checker_module.run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checker_module, "run", run)
        assert in_everything(lake, PULLS)["pulls.key_is_unique"].offender_count == 0
    assert found(lake, PULLS)["pulls.key_is_unique"].offender_count == 1


def test_a_check_that_is_executed_during_a_run_does_not_fail_the_run(lake):
    change(lake, latest(lake, PULLS), PULLS, "UPDATE pulls SET name = 'Another'")
    with lake.exclusive(), Checker(lake, lambda: AFTERWARDS) as checker:
        checker.findings(checks_of(PULLS))
        in_everything(DataDirectory(lake.root), PULLS)


def test_a_check_that_is_executed_is_known_to_the_next_run(lake, checked_whole):
    path = latest(lake, PULLS)
    change(lake, path, PULLS, f"INSERT INTO pulls FROM '{path}' LIMIT 1")
    assert in_everything(lake, PULLS)["pulls.key_is_unique"].offender_count == 1
    checked_whole.clear()
    assert found(lake, PULLS)["pulls.key_is_unique"].offender_count == 1
    assert checked_whole == []


def test_a_part_beside_those_that_it_was_cut_into_is_found(lake, checked_whole):
    part = latest(lake, PULLS)
    (part.parent / f"{day_of(part.stem)}.parquet").write_bytes(part.read_bytes())
    assert found(lake, PULLS)["pulls.key_is_unique"].offender_count > 0
    assert "pulls.key_is_unique" in checked_whole


def test_a_changed_rule_is_checked_in_all_parts(lake, checked_whole, monkeypatch):
    check = next(check for check in CHECKS if check.key == "pulls.item_is_pulled_once_a_session")
    changed = dataclasses.replace(check, offenders=f"{check.offenders} AND count(*) > 2")
    monkeypatch.setattr(checker_module, "CHECKS", (changed,))
    with Checker(lake, lambda: AFTERWARDS) as checker:
        checker.findings([changed])
    assert checked_whole == [check.key]


def test_each_run_of_an_adverse_day_finds_what_is_in_all_rows(tmp_path):
    data = directory(tmp_path / "day")
    day = BusyDay(data)
    day.add_runs(0, 20, 8)
    build(data)
    found(data)
    for hour in (20.5, 23.9):
        day.add_runs(hour, hour + 0.1, 1)
        build(data)
        assert said(found(data)) == said(in_everything(data))
    assert len(data.store.parts(PULLS)) > 4
