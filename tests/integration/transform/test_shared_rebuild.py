"""A rebuild that several processes share: the tables are those of one process, whatever happens to the others."""

import shutil
import sys
from pathlib import Path

import pytest

from pipeline.schema.staging import FULFILLED_RESULTS, UNKNOWN_FIELDS
from pipeline.settings import PROJECT_ROOT
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from pipeline.transform.queries import query
from pipeline.transform.shared_rebuild import LEAST_PARTS, PREBUILT, ROUND, Round
from tests.support.lake import table_hashes
from tests.support.processes import wait_until
from tests.support.rebuilds import DAYS, add_days, adopted, prebuilding, round_begun
from tests.support.workspace import KEY

ALL = {table.name: DAYS for table in PREBUILT}
NONE = dict.fromkeys(ALL, 0)


@pytest.fixture
def workspace(copy_of, configure):
    """A few days of raw data, whose tables one process has built, and settings that let three share a rebuild."""

    def build(made):
        add_days(made)
        made.publish()

    copy_of("days", Simulator, build)
    configure(rebuild_processes=3)
    return Workspace.open()


@pytest.fixture
def expected(workspace):
    return table_hashes(workspace.data)


def prebuilt(workspace):
    return sorted((workspace.data.root / "prebuilt").rglob("*.parquet"))


def assert_is_over(workspace, expected):
    assert table_hashes(workspace.data) == expected
    assert not (workspace.data.root / "prebuilt").exists()
    assert workspace.data.records.load(ROUND, Round) is None


def test_the_run_adopts_what_others_pre_built_and_the_tables_are_equal(workspace, expected, monkeypatch):
    with round_begun(workspace, monkeypatch) as builder:
        shares = [prebuilding(number).communicate()[0] for number in (1, 2, 3)]
        made = [int(line.rpartition(" ")[2]) for line in shares[:2]]
        assert made == [6, 3]  # of the days, the newest and the oldest, and the one between
        assert "not needed" in shares[2]
        assert adopted(builder) == ALL
    assert_is_over(workspace, expected)


def test_the_run_starts_processes_itself_and_waits_for_none(workspace, expected, monkeypatch):
    monkeypatch.setattr("pipeline.transform.shared_rebuild.LEAST_PARTS", 1)
    workspace.rebuild()
    assert_is_over(workspace, expected)


def test_processes_that_cannot_be_started_cost_nothing(workspace, expected, monkeypatch):
    monkeypatch.setattr("pipeline.transform.shared_rebuild.LEAST_PARTS", 1)
    monkeypatch.setattr(sys, "executable", str(workspace.data.root / "no-python"))
    workspace.rebuild()
    assert_is_over(workspace, expected)


def test_a_process_that_is_killed_costs_no_more_than_its_work(workspace, expected, monkeypatch):
    with round_begun(workspace, monkeypatch) as builder:
        process = prebuilding(1)
        wait_until(lambda: bool(prebuilt(workspace)), "a pre-built part")
        process.kill()
        process.communicate()
        left = prebuilt(workspace)[0]
        left.with_name(f".{left.name}.1.tmp").write_bytes(b"PAR1")
        again = prebuilding(1).communicate()[0]
        assert int(again.rpartition(" ")[2]) < 6  # it leaves what is there already
        assert sum(adopted(builder).values()) == 6
    assert_is_over(workspace, expected)


@pytest.mark.parametrize("other", ["program", "key"])
def test_what_another_program_or_one_with_another_key_made_is_not_adopted(
    other, workspace, expected, monkeypatch, tmp_path
):
    program = PROJECT_ROOT
    if other == "program":
        program = tmp_path / "program"
        shutil.copytree(PROJECT_ROOT / "pipeline", program / "pipeline")
        shutil.copy(PROJECT_ROOT / "pyproject.toml", program)
        with (program / "pipeline" / "polling" / "redaction.py").open("a") as file:
            file.write("# a newer version\n")
    with round_begun(workspace, monkeypatch) as builder:
        key = KEY if other == "program" else "another-key"
        assert "parts pre-built: 6" in prebuilding(1, program, PHYGITALS_API_KEY=key).communicate()[0]
        assert len(prebuilt(workspace)) == 6
        assert adopted(builder) == NONE
    assert_is_over(workspace, expected)


def test_a_process_without_the_key_which_would_leave_it_in_the_rows_says_so_and_makes_nothing(workspace, monkeypatch):
    with round_begun(workspace, monkeypatch) as builder:
        process = prebuilding(1, PHYGITALS_API_KEY="")
        process.communicate()
        assert process.returncode == 1
        assert prebuilt(workspace) == []
        adopted(builder)


def test_torn_damaged_and_foreign_objects_are_derived_again(workspace, expected, monkeypatch):
    with round_begun(workspace, monkeypatch) as builder:
        for number in (1, 2):
            prebuilding(number).communicate()
        torn, flipped, foreign, whole = prebuilt(workspace)[-4:]
        torn.write_bytes(torn.read_bytes()[:-100])
        content = bytearray(flipped.read_bytes())
        content[len(content) // 2] ^= 1
        flipped.write_bytes(content)
        (other,) = workspace.data.store.part(FULFILLED_RESULTS, "2026-03-01")
        shutil.copy(other, foreign)
        assert {path.parent.name for path in (flipped, foreign, whole)} == {UNKNOWN_FIELDS.name}
        found = adopted(builder)
        assert found[UNKNOWN_FIELDS.name] == DAYS - 2
        assert sum(found.values()) == 3 * DAYS - 3
    assert_is_over(workspace, expected)


def test_an_object_that_comes_too_late_is_removed_by_the_next_run(workspace, monkeypatch):
    with round_begun(workspace, monkeypatch) as builder:
        prebuilding(1).communicate()
        late = shutil.copytree(workspace.data.root / "prebuilt", workspace.data.root.with_name("late"))
        adopted(builder)
    shutil.move(late, workspace.data.root / "prebuilt")
    assert prebuilt(workspace)
    workspace.compact()
    assert not (workspace.data.root / "prebuilt").exists()


def test_a_process_stops_when_the_run_has_completed_the_table(workspace, monkeypatch):
    monkeypatch.setattr("pipeline.transform.shared_rebuild._BETWEEN_LOOKS", 0.0)
    with round_begun(workspace, monkeypatch) as builder:
        builder.build(FULFILLED_RESULTS)
        assert Workspace.open().prebuild(1) == 4
        adopted(builder)
        assert Workspace.open().prebuild(1) is None
    assert Workspace.open().prebuild(1) is None


def test_a_run_with_few_new_parts_begins_no_round(workspace):
    assert DAYS < 2 * LEAST_PARTS
    with workspace.builder() as builder:
        builder.forget_all()
        builder.build(FULFILLED_RESULTS)
        assert workspace.data.records.load(ROUND, Round) is None


def test_a_damaged_part_is_derived_again_by_a_run_that_may_begin_a_round(workspace, expected):
    (path,) = workspace.data.store.part(FULFILLED_RESULTS, "2026-03-02")
    Path(path).write_bytes(b"PAR1 damaged PAR1")
    workspace.publish()
    assert table_hashes(workspace.data) == expected


def test_what_is_pre_built_follows_from_answers_alone_and_not_from_the_time():
    for table in PREBUILT:
        assert table.sources == ("status_responses",)
        assert "is_future(" not in query(table) and "time_of_run(" not in query(table)
        assert "is_expired(" not in query(table)
