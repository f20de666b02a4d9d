"""A published file is made from the former one where most of its rows stay, and is that made from nothing."""

from __future__ import annotations

import dataclasses
import errno
import os
import random

import duckdb
import pyarrow.parquet as pq
import pytest

from pipeline.publish import PublishError
from pipeline.publish import warehouse as publish_module
from pipeline.publish.building import STORAGE_VERSION
from pipeline.publish.record import Record
from pipeline.publish.warehouse import publish
from pipeline.schema import PUBLISHED
from pipeline.schema.publication import PUBLICATION
from pipeline.schema.quotes import ITEM_TYPES
from pipeline.schema.staging import ITEM_ATTRIBUTES, PULLS
from tests.support.published_workspace import SOME_TABLES, contents, published_from_nothing, shorten_pulls
from tests.support.workspace import rows


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
