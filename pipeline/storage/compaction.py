"""Merges the raw answers of a past day into one object: runs every few minutes leave hundreds of objects.

The merged object is published atomically and names the objects that it replaces. From then on the store
lists only the merged object, so no reader misses or doubles a row. A later run deletes the originals, when readers
that had listed them have finished. After a kill between any two steps the next run continues.

Rows keep the order of the objects' names and their order within, which is the order in which they came:
it takes no sort, no more memory than a row group, and readers get the same rows in the same order as before.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from pipeline.schema.table import Table
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.errors import StoreError
from pipeline.storage.manifest import digest
from pipeline.storage.missing_columns import with_missing_columns
from pipeline.storage.objects import MERGED, Store, file_name, is_merged
from pipeline.storage.parquet_query import read_parquet

GRACE = timedelta(hours=1)  # replaced objects stay, for readers that listed them before


def compact(data: DataDirectory, table: Table, now: datetime) -> None:
    """Merges past days and deletes replaced objects. Needs the directory's lock.

    Raises StoreError where the disk refuses, and rather than delete what the merged object does not hold;
    every row is still there then.
    """
    store = data.store
    replaced = store.replaced(table)
    for day, paths in store.parts(table).items():
        if day >= f"{now:%Y-%m-%d}":
            continue
        if day in replaced:
            for merged, originals in replaced[day].items():
                if now - store.modified_at(merged) >= GRACE:
                    _delete(data, table, merged, originals)
        elif len(paths) > 1:
            _merge(store, table, day, paths)


def identity(paths: Iterable[str]) -> str:
    """The identity of a part's rows whose objects never change; merging preserves it."""
    names = [file_name(path) for path in paths]
    if len(names) == 1 and is_merged(names[0]):
        return names[0].removeprefix(MERGED).removesuffix(".parquet")
    return digest(names)


def _merge(store: Store, table: Table, day: str, paths: list[str]) -> None:
    replaces = {file_name(path) for path in paths}
    # A journal may be sealed again much later, under a name that was merged before.
    replaces.update(*(store.names_replaced(path) for path in paths if is_merged(path)))
    with store.writer(table, day, MERGED + identity(paths), replaces) as writer:
        store.verify(paths)
        for path in paths:
            for batch in store.read(path):
                writer.write(with_missing_columns(table, batch))


def _delete(data: DataDirectory, table: Table, merged: str, originals: list[str]) -> None:
    # Where some are gone, an earlier run has compared them and was stopped between two deletions.
    are_all_there = identity(originals) == identity([merged])
    if are_all_there and _content(data, table, [merged]) != _content(data, table, originals):
        raise StoreError(
            f"{merged} does not hold the rows of the objects that it replaces, so these are kept: "
            "delete it, and the next run merges them again"
        )
    for path in originals:
        data.store.remove(path)


def _content(data: DataDirectory, table: Table, paths: list[str]) -> object:
    """A digest of the rows in any order. It reads every byte."""
    columns = ", ".join(column.name for column in table.columns)
    rows = read_parquet(table, paths)
    with connect(data) as connection:
        return connection.execute(f"SELECT count(*), sum(hash({columns})) FROM {rows}").fetchone()
