"""A workspace that is published, and changes of its lake."""

from __future__ import annotations

import shutil

import duckdb
import pyarrow.parquet as pq
import pytest

from pipeline.publish import warehouse as publish_module
from pipeline.publish.warehouse import publish
from pipeline.schema import PUBLISHED
from pipeline.schema.quotes import ITEM_TYPES
from pipeline.schema.staging import ITEM_ATTRIBUTES, PULLS, PURCHASES
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from pipeline.storage.data_directory import DataDirectory
from tests.support.lake import derive_wrongly
from tests.support.workspace import drop, refresh


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
