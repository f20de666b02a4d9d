"""Which objects a run opens, and what it does about those that are not what was written."""

import os
import shutil

import pytest

from pipeline.publish import PublishError
from pipeline.schema.quotes import ITEM_TYPES
from pipeline.schema.staging import PULLS, PURCHASES
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from pipeline.storage.objects import Store
from tests.support.lake import lake_hashes
from tests.support.workspace import drop, refresh


@pytest.fixture
def workspace(api):
    api(Simulator(delay_scale=0, hold=0))
    workspace = Workspace.open()
    drop(workspace, "a.txt", "\n".join(f"s{i}" for i in range(30)))
    refresh(workspace)
    return workspace


@pytest.fixture
def opened(monkeypatch):
    """The objects whose whole content was read for verification."""
    paths, verify = [], Store.verify

    def noted(self, chosen):
        chosen = list(chosen)
        paths.extend(chosen)
        verify(self, chosen)

    monkeypatch.setattr(Store, "verify", noted)
    return paths


def only_object(workspace, table):
    ((path,),) = workspace.data.store.parts(table).values()
    return path


def test_a_run_opens_no_object_that_is_as_it_was_written(workspace, opened):
    refresh(workspace)
    assert opened == []


@pytest.mark.parametrize("table", [PULLS, PURCHASES, ITEM_TYPES], ids=lambda table: table.name)
def test_an_object_that_somebody_replaced_by_a_whole_one_is_built_again(workspace, table):
    before = lake_hashes(workspace)
    store = workspace.data.store
    path = only_object(workspace, table)
    (part,) = store.parts(table)
    store.write(table, part, [next(store.read(path)).slice(1)])
    assert lake_hashes(workspace) != before
    refresh(workspace)
    assert lake_hashes(workspace) == before


def test_of_a_restored_backup_nothing_is_built_again(workspace, opened):
    before = lake_hashes(workspace)
    backup = shutil.copytree(workspace.data.root, workspace.data.root.with_name("backup"))
    shutil.rmtree(workspace.data.root)
    shutil.copytree(backup, workspace.data.root, copy_function=shutil.copyfile)  # without the times
    written = {path: path.stat().st_mtime_ns for path in (workspace.data.lake).rglob("*.parquet")}
    refresh(workspace)
    assert lake_hashes(workspace) == before
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert opened, "objects with other times were trusted without a look"
    opened.clear()
    refresh(workspace)
    assert opened == []


def test_damage_without_a_trace_in_the_time_is_found_by_the_first_run_of_a_day(workspace, monkeypatch):
    before = lake_hashes(workspace)
    path = workspace.data.lake / "item_types" / "item_types.parquet"
    content, status = bytearray(path.read_bytes()), path.stat()
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    (workspace.data.root / "staging/published.json").unlink()  # so that the publication reads every object
    with pytest.raises(PublishError, match="item_types.parquet cannot be read"):
        workspace.publish()
    forget_verification(workspace)
    workspace.publish()
    assert lake_hashes(workspace) == before


def forget_verification(workspace):
    """Lets a day pass for the inspection."""
    with workspace.builder() as builder:
        builder._context.manifest.verified(ITEM_TYPES, "2020-01-01")
