"""Merges the raw answers of a past day into one object: runs every few minutes leave hundreds of objects.

The merged object is published atomically and names the objects that it replaces. From then on the store lists only
the merged object, so no reader misses a row or reads it twice. A later run deletes the originals, once readers that had
listed them have finished. If a run is killed between two steps, the next run continues.

Rows are ordered by object name and by their order within the object, which is the order of their arrival. Merging
therefore needs no sort and no more memory than a row group, and readers get the same rows in the same order as before.
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

GRACE = timedelta(hours=1)  # replaced objects are kept this long for readers that have listed them


def compact(data: DataDirectory, table: Table, now: datetime) -> None:
    """Merges past days and deletes replaced objects. Needs the directory's lock.

    Raises StoreError if a disk operation fails, or if a merged object does not contain the rows of its originals.
    No row is lost in either case.
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
    """The identity of a raw part's rows, derived from the names of its immutable objects. Merging preserves it."""
    names = [file_name(path) for path in paths]
    if len(names) == 1 and is_merged(names[0]):
        return names[0].removeprefix(MERGED).removesuffix(".parquet")
    return digest(names)


def _merge(store: Store, table: Table, day: str, paths: list[str]) -> None:
    replaces = {file_name(path) for path in paths}
    # A journal may be sealed again much later, into an object whose name was already merged.
    replaces.update(*(store.names_replaced(path) for path in paths if is_merged(path)))
    with store.writer(table, day, MERGED + identity(paths), replaces) as writer:
        store.verify(store.fetched(paths))
        for path in paths:
            for batch in store.read(path):
                writer.write(with_missing_columns(table, batch))


def _delete(data: DataDirectory, table: Table, merged: str, originals: list[str]) -> None:
    # If some are missing, an earlier run compared them and was stopped between two deletions.
    are_all_there = identity(originals) == identity([merged])
    if are_all_there and _content(data, table, [merged]) != _content(data, table, originals):
        raise StoreError(
            f"{merged} does not contain the rows of the objects that it replaces, so these are kept: "
            "delete it, and the next run merges them again"
        )
    for path in originals:
        data.store.remove(path)


def _content(data: DataDirectory, table: Table, paths: list[str]) -> object:
    """A digest of the rows, independent of their order. Reads every byte."""
    columns = ", ".join(column.name for column in table.columns)
    rows = read_parquet(table, data.store.fetched(paths))
    with connect(data) as connection:
        return connection.execute(f"SELECT count(*), sum(hash({columns})) FROM {rows}").fetchone()
