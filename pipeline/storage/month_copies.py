"""Copies of the parts of derived tables: one object with the rows of all parts of a month, in their order.

A query that reads a whole table spends more time on opening a small object than on its rows. The name of a copy has a
digest of the versions of its parts, so a copy is never out of date. Copies are caches: a lost one is made again.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from pipeline.schema.table import Table
from pipeline.storage.object_storage import ObjectStorage
from pipeline.storage.object_writer import ObjectWriter
from pipeline.storage.objects import GROUP_BYTES, write_behind

_FOLDER = "staging/months"


class MonthCopies:
    """The copies of one data directory. Only the holder of its lock may write."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage

    @staticmethod
    def name(month: str, digest: str) -> str:
        """The name of the copy of a month, such as 2026-03, whose parts have the versions of the digest."""
        return f"{month}-{digest}"

    def names(self, table: Table) -> set[str]:
        """The names of the table's copies. Raises OSError."""
        folder = f"{_FOLDER}/{table.name}/"
        listed = self._storage.listing(folder.rstrip("/"))
        return {entry.key.removeprefix(folder).removesuffix(".parquet") for entry in listed}

    def path(self, table: Table, name: str) -> str:
        """The path of a copy."""
        return (self._storage.root / self._key(table, name)).as_posix()

    def write(self, table: Table, name: str, batches: Iterable[pa.RecordBatch]) -> None:
        """Makes a copy. Raises StoreError."""
        with ObjectWriter(self._storage, self._key(table, name), table.arrow_schema, [], GROUP_BYTES) as writer:
            write_behind(writer, batches)

    def delete(self, table: Table, names: Iterable[str]) -> None:
        """Removes copies. Raises OSError."""
        for name in names:
            self._storage.delete(self._key(table, name))

    def _key(self, table: Table, name: str) -> str:
        return f"{_FOLDER}/{table.name}/{name}.parquet"
