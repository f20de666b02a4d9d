"""Merges the raw answers of a day that is over into one object: a run each few minutes leaves hundreds of them.

The merged object is published whole and says itself which ones it replaces. From that moment the store
lists it and not them, so no reader misses or doubles a row; they are deleted by a later run, when readers
that had listed them are done. A kill between any two steps leaves a state from which the next run goes on.

Rows keep the order of the objects' names and their order within, which is the order in which they came:
it takes no sort, no more memory than a row group, and readers get the same rows in the same order as before.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.manifest import digest
from pipeline.storage.object_errors import StoreError
from pipeline.storage.objects import MERGED, Store, file_name, is_merged
from pipeline.storage.parquet_query import read_parquet

GRACE = timedelta(hours=1)  # for which replaced objects stay, for who listed them before


def compact(data: DataDirectory, now: datetime) -> None:
    """Does what is due for the days before that of `now`. Needs the directory's lock.

    Raises StoreError where the disk refuses, and rather than delete what the merged object does not hold;
    every row is still there then.
    """
    store = data.store
    replaced = store.replaced(STATUS_RESPONSES)
    for day, paths in store.parts(STATUS_RESPONSES).items():
        if day >= f"{now:%Y-%m-%d}":
            continue
        if day in replaced:
            for merged, originals in replaced[day].items():
                if now - store.modified_at(merged) >= GRACE:
                    _delete(data, merged, originals)
        elif len(paths) > 1:
            _merge(store, day, paths)


def identity(paths: Iterable[str]) -> str:
    """What identifies the rows of a part whose objects never change: it outlives their being merged."""
    names = [file_name(path) for path in paths]
    if len(names) == 1 and is_merged(names[0]):
        return names[0].removeprefix(MERGED).removesuffix(".parquet")
    return digest(names)


def _merge(store: Store, day: str, paths: list[str]) -> None:
    replaces = {file_name(path) for path in paths}
    # A journal can be sealed once more long after, under a name that was merged away already.
    replaces.update(*(store.names_replaced(path) for path in paths if is_merged(path)))
    with store.writer(STATUS_RESPONSES, day, MERGED + identity(paths), replaces) as writer:
        store.verify(paths)
        for path in paths:
            for batch in store.read(path):
                writer.write(batch)


def _delete(data: DataDirectory, merged: str, originals: list[str]) -> None:
    # Where some are gone, an earlier run has compared them and was stopped between two deletions.
    are_all_there = identity(originals) == identity([merged])
    if are_all_there and _content(data, [merged]) != _content(data, originals):
        raise StoreError(
            f"{merged} does not hold the rows of the objects that it replaces, so these are kept: "
            "delete it, and the next run merges them again"
        )
    for path in originals:
        data.store.remove(path)


def _content(data: DataDirectory, paths: list[str]) -> object:
    """The same for the same rows in any order. It reads every byte that is to be relied on."""
    columns = ", ".join(column.name for column in STATUS_RESPONSES.columns)
    rows = read_parquet(STATUS_RESPONSES, paths)
    with connect(data) as connection:
        return connection.execute(f"SELECT count(*), sum(hash({columns})) FROM {rows}").fetchone()
