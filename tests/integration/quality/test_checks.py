"""Each check passes on what the pipeline builds and refuses a lake that breaks its rule."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.clock import now
from pipeline.quality import checker as checker_module
from pipeline.quality.checker import CHECKS, Checker, checks_of
from pipeline.quality.published_file import disagreements
from pipeline.quality.rules import Severity
from pipeline.schema import TABLES
from pipeline.simulator import catalogue
from pipeline.simulator.server import DEFAULT_SEED
from pipeline.steps import Workspace
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.errors import DataDirectoryError
from tests.support.broken_lake import break_for, table_changed_by
from tests.support.workspace import build_all, drop, findings, refresh, rows


def sessions_with_an_item_in_common() -> tuple[str, str]:
    """Two sessions of the simulator that pull the same item."""
    seen: dict[str, str] = {}
    for session_id in (f"again-{i}" for i in itertools.count()):
        fate = catalogue.session(DEFAULT_SEED, session_id, False)
        for item in () if fate.is_failed else fate.result["nfts"]:
            if item["id"] in seen:
                return seen[item["id"]], session_id
            seen[item["id"]] = session_id
    raise AssertionError


HEADER, START = "session_id,initiated_at,pack_id,price_usd,odd\n", "2026-01-01T09:00:00Z"
PACKS_FILE = """pack_id,price_usd,buyback_percent,tier,fmv_low_usd,fmv_high_usd,weight
p,10,85,low,0,20,80
p,,,high,20,50000,20
"""


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """A small lake with every kind of row, made once."""
    patch = pytest.MonkeyPatch()
    patch.setenv("PHYGITALS_DATA_DIR", str(tmp_path_factory.mktemp("lake")))
    workspace = Workspace.open()
    drop(workspace, "a.csv", HEADER + "".join(f"s{i},{START},p,10,x\n" for i in range(1, 25)))
    drop(workspace, "b.csv", "session_id,price_usd\ns1,11\n")
    drop(workspace, "c.txt", "\n".join(sessions_with_an_item_in_common()))
    workspace.data.packs_file.parent.mkdir()
    workspace.data.packs_file.write_text(PACKS_FILE)
    refresh(workspace)
    workspace.data.sellbacks.mkdir()
    sold = rows(workspace, "SELECT item_id, session_id, resolved_at FROM pulls WHERE pull_number = 1")
    lines = "".join(f"{item},{session},{at.isoformat()},5\n" for item, session, at in sold)
    (workspace.data.sellbacks / "a.csv").write_text(f"item_id,session_id,sold_at,amount_usd\n{lines}")
    workspace.take_in_sellbacks()
    build_all(workspace)
    workspace.publish()
    yield workspace
    patch.undo()


def test_the_lake_that_the_pipeline_builds_passes_every_check(lake):
    found = findings(lake.data, [check for check in CHECKS if check.severity is not Severity.INFO])
    assert {key: finding.message for key, finding in found.items() if finding.message} == {}


@pytest.mark.one_python
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.key)
def test_a_broken_lake_is_noticed(check, lake):
    change, store = break_for(check), lake.data.store
    table = table_changed_by(change)
    with connect(lake.data) as connection:
        connection.execute(f"CREATE TABLE {table.name} AS FROM {store.scan(table)}")
        connection.execute(change)
        broken = connection.execute(f"FROM {table.name}").to_arrow_table()
    original = {Path(path): Path(path).read_bytes() for paths in store.parts(table).values() for path in paths}
    nullable = [field.with_nullable(True) for field in table.arrow_schema]
    try:
        for path in original:
            pq.write_table(pa.Table.from_batches([], pa.schema(nullable)), path)
        pq.write_table(broken.cast(pa.schema(nullable)), next(iter(original)))
        finding = findings(lake.data, [check])[check.key]
    finally:
        for path, content in original.items():
            path.write_bytes(content)
    assert finding.offender_count > 0
    assert finding.examples
    assert finding.message


def computed(checker: Checker, *tables: str) -> set[str]:
    """The checks of these tables that are computed, and not as they were recorded."""
    found = [pair for table in tables for pair in checker.findings(checks_of(TABLES[table])).items()]
    return {check.key for check, finding in found if finding.computed_at is None}


@pytest.fixture
def own_lake(lake, tmp_path):
    """A copy of the lake, for a test that changes it."""
    copy = DataDirectory(tmp_path / "lake")
    shutil.copytree(lake.data.root, copy.root)
    (copy.root / "staging" / "findings.json").unlink(missing_ok=True)
    return copy


def test_a_check_is_computed_again_when_what_it_reads_has_changed_and_only_then(own_lake):
    both = {check.key for table in ("pulls", "item_types") for check in checks_of(TABLES[table])}
    with Checker(own_lake, now) as checker:
        assert computed(checker, "pulls", "item_types") == both
        assert computed(checker, "pulls", "item_types") == set()
    with Checker(own_lake, now) as checker:
        assert computed(checker, "pulls", "item_types") == set()
        ((path,),) = own_lake.store.parts(TABLES["item_types"]).values()
        Path(path).touch()
        assert computed(checker, "pulls") == set()
        assert computed(checker, "item_types") == {check.key for check in checks_of(TABLES["item_types"])}


def test_a_check_is_computed_again_when_its_rule_has_changed(own_lake, monkeypatch):
    with Checker(own_lake, now) as checker:
        computed(checker, "pulls")
        check = next(c for c in CHECKS if c.key == "pulls.quotes_are_plausible")
        changed = dataclasses.replace(check, offenders=check.offenders.replace("250000", "1"), condition=None)
        monkeypatch.setattr(checker_module, "CHECKS", (changed, *(c for c in CHECKS if c is not check)))
        assert computed(checker, "pulls") == {check.key}
        assert checker.findings([changed])[changed].offender_count > 0


def test_a_recorded_finding_says_the_same_as_the_computed_one(own_lake):
    (check,) = [check for check in CHECKS if check.key == "data_issues.has_no_errors"]
    with Checker(own_lake, now) as checker:
        first = checker.findings([check])[check]
    with Checker(own_lake, now) as checker:
        again = checker.findings([check])[check]
    assert (first.computed_at is None, again.computed_at is None) == (True, False)
    assert (again.message, again.offender_count) == (first.message, first.offender_count)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b'{"pulls.key_is_unique": 1}', b'{"pulls.key_is_unique": ["x", {}]}']
)
def test_a_record_of_findings_that_cannot_be_read_counts_as_none(content, own_lake):
    (own_lake.root / "staging" / "findings.json").write_bytes(content)
    with Checker(own_lake, now) as checker:
        assert computed(checker, "pulls") == {check.key for check in checks_of(TABLES["pulls"])}


def test_a_disk_that_does_not_take_the_record_of_findings_stops_nothing(own_lake, monkeypatch):
    def full(*_: object) -> None:
        raise DataDirectoryError("no space left")

    monkeypatch.setattr("pipeline.storage.local_folder.replace_file", full)
    with Checker(own_lake, now) as checker:
        assert computed(checker, "pulls")


def test_every_table_is_checked():
    assert {check.table.name for check in CHECKS} == {t.name for t in TABLES.values() if t.is_asset}
    assert len({check.key for check in CHECKS}) == len(CHECKS)


@pytest.mark.parametrize(
    ("name_sent", "is_odd"),
    [
        ("R\u0430\u0443dium", True),
        ("gnp.\u202eexe", True),
        ("Pok\ufffdmon", True),
        ("Charizard δ", False),
        ("Pokémon", False),
    ],
)
def test_only_look_alikes_within_a_word_are_odd_names(name_sent, is_odd):
    (check,) = [check for check in CHECKS if check.name == "names_are_what_they_look_like"]
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE pulls AS SELECT 's' AS session_id, 1 AS pull_number, ? AS name", [name_sent])
        assert bool(connection.execute(check.offenders).fetchall()) is is_odd


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("DELETE FROM items", "items: the lake has"),
        (
            "UPDATE pulls SET buyback_price_usd = buyback_price_usd + 0.0001 WHERE session_id = 's1'",
            "pulls: the lake has",
        ),
    ],
)
def test_a_published_file_that_holds_something_else_is_noticed(change, words, lake, tmp_path):
    assert disagreements(lake.data).message is None
    kept = shutil.copy(lake.data.warehouse, tmp_path)
    try:
        with duckdb.connect(lake.data.warehouse) as connection:
            connection.execute(change)
        finding = disagreements(lake.data)
    finally:
        shutil.copy(kept, lake.data.warehouse)
    assert finding.offender_count == 1
    assert words in str(finding.message)
