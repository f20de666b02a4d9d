"""Publishing: readers are never disturbed, and a failure leaves the old file whole."""

from __future__ import annotations

import dataclasses
import errno
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.publish import PublishError
from pipeline.publish import warehouse as publish_module
from pipeline.publish.building import STORAGE_VERSION
from pipeline.publish.record import Record
from pipeline.publish.warehouse import open_warehouse, publish
from pipeline.schema import PUBLISHED
from pipeline.schema.publication import PUBLICATION
from pipeline.schema.quotes import ITEM_TYPES
from pipeline.schema.staging import ITEM_ATTRIBUTES, PULLS, PURCHASES
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.errors import StoreError
from pipeline.storage.spill import spill_folder
from tests.support.lake import derive_wrongly
from tests.support.workspace import drop, refresh, rows


@pytest.fixture
def workspace(copy_of):
    def build(workspace: Workspace) -> None:
        drop(workspace, "a.csv", "session_id,pack_id,price_usd\n" + "".join(f"s{i},p,10\n" for i in range(30)))
        refresh(workspace)

    return copy_of("published", lambda: Simulator(delay_scale=0, hold=0), build)


# Publishing costs the same for each table, however small; where a file is published many times, these stand for all.
SOME_TABLES = (PURCHASES, PULLS, ITEM_ATTRIBUTES, ITEM_TYPES)


@pytest.fixture
def workspace_of_some_tables(workspace, monkeypatch):
    """The workspace as if only some tables were to be published."""
    monkeypatch.setattr(publish_module, "PUBLISHED", SOME_TABLES)
    workspace.data.warehouse.unlink()
    with workspace.data.exclusive():
        assert publish(workspace.data).row_counts.keys() == {table.name for table in SOME_TABLES}
    return workspace


def test_an_open_reader_neither_blocks_a_run_nor_is_disturbed_by_it(workspace):
    with duckdb.connect(workspace.data.warehouse, read_only=True) as reader:
        assert reader.execute("SELECT count(*) FROM purchases").fetchall() == [(30,)]
        drop(workspace, "b.txt", "new\n")
        workspace.take_in()
        workspace.publish()
        assert reader.execute("SELECT count(*) FROM purchases").fetchall() == [(30,)]
    assert rows(workspace, "SELECT count(*) FROM purchases") == [(31,)]


def test_every_table_and_column_has_its_comment_and_type(workspace):
    for table in PUBLISHED:
        assert rows(workspace, f"SELECT comment FROM duckdb_tables() WHERE table_name = '{table.name}'") == [
            (table.grain,)
        ]
        described = rows(
            workspace,
            "SELECT column_name, data_type, comment, is_nullable FROM duckdb_columns() "
            f"WHERE table_name = '{table.name}' ORDER BY column_index",
        )
        assert described == [(c.name, c.type, c.meaning, not c.is_required) for c in table.columns]


def test_a_comment_ends_with_the_unit_where_there_is_one(workspace):
    comments = "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'purchases'"
    found = dict(rows(workspace, comments))
    assert found["price_usd"] == "Price of the session, as submitted (USD)"
    assert found["resolved_at"].endswith(" (UTC)")
    assert found["session_id"] == "The session, as returned by buy/init"


def described(field: pa.Field) -> tuple[str | None, str | None]:
    """The description and the unit that a Parquet file gives a column."""
    metadata = {name.decode(): text.decode() for name, text in field.metadata.items()}
    return metadata.get("description"), metadata.get("unit")


def test_the_lake_holds_the_same_rows_in_the_declared_schema(workspace):
    for table in PUBLISHED:
        paths = sorted((workspace.data.root / "lake" / table.name).glob("*.parquet"))
        assert paths, table.name
        for path in paths:
            assert pq.read_schema(path).equals(table.arrow_schema)
            assert [described(field) for field in pq.read_schema(path)] == [
                (c.description, c.unit) for c in table.columns
            ]
        listed = ", ".join(f"'{path}'" for path in paths)
        same = f"(FROM {table.name} EXCEPT ALL FROM read_parquet([{listed}]))"
        assert rows(workspace, f"SELECT count(*) FROM {same}") == [(0,)]
        counts = f"SELECT (SELECT count(*) FROM {table.name}), (SELECT count(*) FROM read_parquet([{listed}]))"
        ((ours, theirs),) = rows(workspace, counts)
        assert ours == theirs


def test_a_left_over_write_ahead_log_does_not_break_readers(workspace):
    wal = workspace.data.warehouse.with_name("phygitals.duckdb.wal")
    wal.write_bytes(b"left over by something else")
    workspace.publish()
    assert not wal.exists()
    assert rows(workspace, "SELECT count(*) FROM purchases") == [(30,)]


def test_a_file_that_holds_all_of_the_lake_already_is_left_as_it_is(workspace):
    workspace.publish()
    before = workspace.data.warehouse.stat()
    again = workspace.publish()
    assert again.is_unchanged
    assert again.row_counts["purchases"] == 30
    assert workspace.data.warehouse.stat() == before
    shorten_pulls(workspace.data)
    assert not workspace.publish().is_unchanged


def test_a_corrupt_file_in_the_lake_is_named_and_the_published_file_stays(workspace):
    before = workspace.data.warehouse.read_bytes()
    broken = workspace.data.root / "lake" / "item_types" / "item_types.parquet"
    broken.write_bytes(b"PAR1 broken")
    with workspace.data.exclusive(), pytest.raises(PublishError, match="item_types.parquet"):
        publish(workspace.data)
    assert workspace.data.warehouse.read_bytes() == before
    assert list(workspace.data.root.glob(".phygitals*")) == []


def test_a_crash_while_building_leaves_the_published_file(workspace, monkeypatch):
    before = workspace.data.warehouse.read_bytes()

    def crash(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(publish_module, "_free_share", crash)
    shorten_pulls(workspace.data)
    with pytest.raises(KeyboardInterrupt):
        workspace.publish()
    assert workspace.data.warehouse.read_bytes() == before
    monkeypatch.undo()
    assert workspace.publish().row_counts["purchases"] == 30


# Each publication is a process of its own, forked once all is imported, and prints the steps that it took.
PUBLISH_UNTIL_KILLED = """
import contextlib, os, sys
from pathlib import Path
from pipeline.storage.data_directory import DataDirectory
from pipeline.publish import warehouse as publish, record

publish.PUBLISHED = [table for table in publish.PUBLISHED if table.name in sys.argv[1].split()]

def publish_until(root, last_step):
    steps = 0

    def step(function):
        def count(*arguments, **options):
            nonlocal steps
            if steps == last_step:
                os._exit(9)
            steps += 1
            return function(*arguments, **options)
        return count

    connect = publish.connect

    @contextlib.contextmanager
    def connect_stepwise(data):
        with connect(data) as connection:
            yield Connection(connection)

    class Connection:
        def __init__(self, connection):
            self.execute = step(connection.execute)

    publish.connect = connect_stepwise
    publish._copy = step(publish._copy)
    publish.os.fsync = step(os.fsync)
    publish.Path.replace = step(Path.replace)
    record.Record.save = step(record.Record.save)
    data = DataDirectory(root)
    with data.exclusive():
        publish.publish(data)
    print(steps, flush=True)

for root, last_step in zip(sys.argv[2::2], sys.argv[3::2]):
    if not (child := os.fork()):
        publish_until(Path(root), int(last_step))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def publish_until_killed(last_steps: dict[Path, int]) -> list[str]:
    """Publishes these directories up to their steps. Returns exit codes, each after the steps if it was not killed."""
    arguments = [str(argument) for pair in last_steps.items() for argument in pair]
    tables = " ".join(table.name for table in SOME_TABLES)
    command = [sys.executable, "-c", PUBLISH_UNTIL_KILLED, tables, *arguments]
    return subprocess.run(command, check=True, timeout=120, capture_output=True, text=True).stdout.split()


def cannot(number: int):
    def fail(*_: object) -> int:
        raise OSError(number, "as told by the system")

    return fail


@pytest.mark.parametrize("copy_file_range", [None, cannot(errno.ENOSYS), cannot(errno.EIO), lambda *_: 0])
def test_where_the_system_does_not_copy_files_by_itself_the_published_one_is_read_and_written(
    copy_file_range, workspace, monkeypatch
):
    shorten_pulls(workspace.data)
    if copy_file_range is None:
        monkeypatch.delattr(os, "copy_file_range")
    else:
        monkeypatch.setattr(os, "copy_file_range", copy_file_range)
    monkeypatch.setattr(publish_module, "_COPIED_AT_ONCE", 100_000)
    assert workspace.publish().kept_row_count > 0
    patched = contents(workspace.data.warehouse)
    (workspace.data.root / "staging" / "published.json").unlink()
    assert workspace.publish().kept_row_count == 0
    assert patched == contents(workspace.data.warehouse)


def test_a_copy_for_which_there_is_no_room_leaves_the_published_file(workspace, monkeypatch):
    shorten_pulls(workspace.data)
    before = workspace.data.warehouse.read_bytes()
    monkeypatch.setattr(os, "fsync", cannot(errno.ENOSPC))
    with pytest.raises(PublishError, match="as told by the system"):
        workspace.publish()
    assert workspace.data.warehouse.read_bytes() == before
    assert list(workspace.data.root.glob(".phygitals*")) == []


@pytest.mark.parametrize("is_patch", [True, False])
def test_a_kill_at_any_step_leaves_a_whole_file_and_the_next_run_publishes_all(
    is_patch, workspace_of_some_tables, tmp_path
):
    if not is_patch:
        (workspace_of_some_tables.data.root / "staging" / "published.json").unlink()
    shorten_pulls(workspace_of_some_tables.data)
    before = contents(workspace_of_some_tables.data.warehouse, SOME_TABLES)

    def copied(name):
        return DataDirectory(shutil.copytree(workspace_of_some_tables.data.root, tmp_path / name))

    seen = copied("seen")
    with seen.exclusive():
        assert (publish(seen).kept_row_count > 0) is is_patch
    whole = copied("whole")
    steps, code = map(int, publish_until_killed({whole.root: -1}))
    assert code == 0
    after = contents(whole.warehouse, SOME_TABLES)
    assert before != after
    # The first steps, some between tables, and the last: checkpoint, detachment, sync, replacement, record.
    killed_at = sorted({0, 1, *range(3, steps, steps // 4), *range(steps - 6, steps)})
    killed = {copied(f"killed after {done} of {steps}"): done for done in killed_at}
    codes = publish_until_killed({data.root: done for data, done in killed.items()})
    assert codes == ["9"] * len(killed_at)
    found = []
    for data in killed:
        found.append(contents(data.warehouse, SOME_TABLES))
        assert found[-1] in (before, after)
        with data.exclusive():
            publish(data)
        assert contents(data.warehouse, SOME_TABLES) == after
        assert list(data.root.glob(".phygitals*")) == []
    assert found[0] == before
    assert found[-1] == after


def test_nothing_published_yet_is_said_with_what_to_do(tmp_path):
    with pytest.raises(PublishError, match="phygitals refresh"):
        open_warehouse(tmp_path / "none.duckdb")


def test_a_failed_write_leaves_the_old_object_and_no_trace(workspace):
    store = workspace.data.store
    folder = workspace.data.root / "lake" / "item_types"
    before = (folder / "item_types.parquet").read_bytes()

    def batches():
        yield from pq.ParquetFile(folder / "item_types.parquet").iter_batches()
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        store.write(ITEM_TYPES, "item_types", batches())
    assert [path.name for path in folder.iterdir()] == ["item_types.parquet"]
    assert (folder / "item_types.parquet").read_bytes() == before


def test_a_write_that_the_disk_refuses_names_the_object(workspace):
    folder = workspace.data.root / "lake" / "item_types"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.write_text("a file in the way")
    with pytest.raises(StoreError, match=r"lake/item_types/item_types.parquet could not be written"):
        workspace.data.store.write(ITEM_TYPES, "item_types", [])


def test_leftovers_of_dead_writers_are_swept_by_the_next(workspace):
    stale = workspace.data.root / "lake" / "pulls" / ".2026-01-01.parquet.99999.tmp"
    stale.write_bytes(b"half")
    workspace.publish()
    assert not stale.exists()


PUT_ASIDE_AND_WAIT = """
import sys
from pathlib import Path
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.spill import spill_folder
with spill_folder(DataDirectory(Path(sys.argv[1])).scratch) as folder:
    (folder / "duckdb_temp_storage-0.tmp").write_bytes(b"rows")
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_put_aside_on_disk_is_removed_by_the_next_run_and_nothing_of_a_living_one(workspace):
    command = [sys.executable, "-c", PUT_ASIDE_AND_WAIT, workspace.data.root]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as dead, subprocess.Popen(command, **pipes) as living:
        assert dead.stdout is not None and living.stdout is not None
        of_dead, of_living = (Path(stdout.readline().strip()) for stdout in (dead.stdout, living.stdout))
        dead.kill()
        dead.wait()
        of_former_version = workspace.data.scratch / f"{living.pid}-0123abcd"
        of_former_version.mkdir()
        workspace.publish()
        assert (of_living / "duckdb_temp_storage-0.tmp").exists()
        assert not of_dead.exists() and not of_former_version.exists()
        assert sorted(workspace.data.scratch.iterdir()) == [of_living, of_living.with_name(f"{of_living.name}.lock")]
        living.communicate("")
    assert list(workspace.data.scratch.iterdir()) == []


def test_who_may_not_write_puts_rows_aside_elsewhere(workspace):
    missing = DataDirectory(workspace.data.root / "none" / "of it")
    with spill_folder(missing.scratch) as folder:
        assert folder.is_dir() and not folder.is_relative_to(workspace.data.root)
    assert not folder.exists() and not missing.root.exists()


def contents(path, tables=PUBLISHED):
    with duckdb.connect(path, read_only=True) as connection:
        return {table.name: connection.execute(f"FROM {table.name}").fetchall() for table in tables}


def shorten_pulls(data):
    """A change of the lake that leaves most of its rows as they are."""
    ((day, (path,)),) = data.store.parts(PULLS).items()
    derive_wrongly(data, PULLS, day, pq.read_table(path).slice(5).to_batches())


def published_from_nothing(workspace, folder):
    shutil.copytree(workspace.data.root / "lake", folder / "lake")
    data = DataDirectory(folder)
    publish(data)
    found = contents(data.warehouse, SOME_TABLES)
    shutil.rmtree(folder)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_a_file_made_from_the_former_one_is_that_made_from_nothing(
    workspace_of_some_tables, tmp_path, seed, monkeypatch
):
    monkeypatch.setattr(publish_module, "_COPIED_AT_ONCE", 300_007)  # so that the small file is many pieces
    rng = random.Random(seed)
    store = workspace_of_some_tables.data.store
    originals = {table: next(iter(store.parts(table).values()))[0] for table in (PULLS, ITEM_ATTRIBUTES)}
    read = {table: pq.read_table(path) for table, path in originals.items()}
    kept_row_counts = set()
    for _ in range(12):
        table = rng.choice([PULLS, ITEM_ATTRIBUTES])
        day = f"20{rng.randrange(10, 16)}-01-01"
        if rng.random() < 0.2:
            store.delete(table, day)
        else:
            rows_of_day = read[table].slice(rng.randrange(10), rng.randrange(1, 25))
            store.write(table, day, rows_of_day.to_batches())
        published = publish(workspace_of_some_tables.data)
        kept_row_counts.add(published.kept_row_count)
        expected = published_from_nothing(workspace_of_some_tables, tmp_path / "fresh")
        assert contents(published.path, SOME_TABLES) == expected
        assert published.row_counts == {name: len(found) for name, found in expected.items()}
    assert len(kept_row_counts) > 4, f"seed {seed}"


def test_the_file_is_in_the_format_of_the_oldest_duckdb_that_is_to_read_it_whether_patched_or_not(workspace):
    """Continuous integration reads it with that version itself."""
    kept_row_counts = []
    for is_patched in (False, True):
        if is_patched:
            shorten_pulls(workspace.data)
        else:
            workspace.data.warehouse.unlink()
        kept_row_counts.append(publish(workspace.data).kept_row_count)
        with duckdb.connect(workspace.data.warehouse, read_only=True) as connection:
            ((tags,),) = connection.execute(
                "SELECT tags FROM duckdb_databases() WHERE database_name = current_database()"
            ).fetchall()
        assert tags["storage_version"].removesuffix("+") == STORAGE_VERSION == "v1.2.0"
    assert kept_row_counts[0] == 0 < kept_row_counts[1]


def test_a_table_that_is_published_no_more_is_not_in_a_file_made_from_the_former_one(workspace, monkeypatch):
    kept = tuple(table for table in PUBLISHED if table is not ITEM_TYPES)
    workspace.publish()
    monkeypatch.setattr(publish_module, "PUBLISHED", kept)
    with workspace.data.exclusive():
        assert publish(workspace.data).kept_row_count > 0
    with duckdb.connect(workspace.data.warehouse, read_only=True) as connection:
        found = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    assert {name for (name,) in found} == {PUBLICATION.name, *(table.name for table in kept)}


def test_nothing_is_kept_of_a_file_that_somebody_else_wrote_to(workspace):
    workspace.publish()
    assert workspace.publish().kept_row_count > 0
    with duckdb.connect(workspace.data.warehouse) as connection:
        connection.execute("UPDATE purchases SET poll_count = -1")
    assert workspace.publish().kept_row_count == 0
    assert rows(workspace, "SELECT count(*) FROM purchases WHERE poll_count < 0") == [(0,)]


def test_nothing_is_kept_of_a_table_that_is_declared_otherwise(workspace):
    workspace.publish()
    record = Record(workspace.data)
    renamed = dataclasses.replace(PULLS, grain="Another grain.")
    assert record.parts(PULLS)
    assert record.parts(renamed) == []


def test_a_file_of_mostly_freed_blocks_is_built_from_nothing_the_next_time(workspace, monkeypatch):
    workspace.publish()
    monkeypatch.setattr(publish_module, "_MOST_FREE_SHARE", -1.0)
    shorten_pulls(workspace.data)
    assert workspace.publish().kept_row_count > 0
    assert workspace.publish().kept_row_count == 0


def test_a_lost_record_costs_a_copy_and_nothing_else(workspace):
    workspace.publish()
    (workspace.data.root / "staging" / "published.json").write_text("{broken")
    assert workspace.publish().kept_row_count == 0
    assert workspace.publish().kept_row_count > 0
