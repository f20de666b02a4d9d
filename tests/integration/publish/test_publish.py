"""Publishing: readers are never disturbed, and a failure leaves the old file whole."""

from __future__ import annotations

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
from pipeline.publish.warehouse import open_warehouse, publish
from pipeline.schema import PUBLISHED
from pipeline.schema.quotes import ITEM_TYPES
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.errors import StoreError
from pipeline.storage.spill import spill_folder
from tests.support.published_workspace import SOME_TABLES, contents, shorten_pulls
from tests.support.workspace import drop, rows


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
