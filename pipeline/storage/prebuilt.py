"""Pre-built objects: parts of derived tables that other processes made ahead of the run that holds the lock.

The name of a pre-built object ends with a digest of everything that it follows from. So nothing is overwritten, no
lease is needed to write one, and the run can adopt it without asking who made it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.schema.table import Table
from pipeline.storage.checksum import checksum_of, is_intact
from pipeline.storage.object_storage import Entry, ObjectStorage
from pipeline.storage.object_writer import ObjectWriter
from pipeline.storage.objects import GROUP_BYTES, write_behind

_FOLDER = "prebuilt"


class Adopted(NamedTuple):
    """A pre-built object that became a part of its table."""

    entry: Entry
    row_count: int
    checksum: int


class Prebuilt:
    """The pre-built objects of one data directory. A `digest` stands for everything that an object follows from."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage

    def names(self) -> set[str]:
        """The names of the objects; see `name`."""
        return {entry.key.removeprefix(f"{_FOLDER}/") for entry in self._storage.listing(_FOLDER)}

    @staticmethod
    def name(table: Table, part: str, digest: str) -> str:
        """The name of the object of a part."""
        return f"{table.name}/{part}-{digest}.parquet"

    def write(self, table: Table, part: str, digest: str, batches: Iterable[pa.RecordBatch]) -> None:
        """Makes the object of a part. Needs neither lock nor lease. Raises StoreError."""
        key = self._key(table, part, digest)
        with ObjectWriter(self._storage, key, table.arrow_schema, [], GROUP_BYTES) as writer:
            write_behind(writer, batches)
        if self._storage.is_remote:
            (self._storage.root / key).unlink(missing_ok=True)  # this machine has no use for a copy

    def adopt(self, table: Table, part: str, digest: str) -> Adopted | None:
        """Makes the object of a part the part's own; None if there is none, or only a damaged one. Needs the lock.

        Raises StoreError.
        """
        key, target = self._key(table, part, digest), f"{table.zone.value}/{table.name}/{part}.parquet"
        path = self._storage.root / target
        # Under a name of this process's own nobody removes the file between its verification and its publication.
        taken = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._storage.fetch([key])
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            (self._storage.root / key).replace(taken)
        except FileNotFoundError:
            return None
        try:
            self._storage.delete(key)
            found = _content(taken, table)
            return Adopted(self._storage.put(taken, target), *found) if found else None
        finally:
            taken.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Removes the objects that no run adopted, and unfinished ones. Needs the lock. Raises StoreError."""
        for entry in self._storage.listing(_FOLDER):
            self._storage.delete(entry.key)
        shutil.rmtree(self._storage.root / _FOLDER, ignore_errors=True)

    def _key(self, table: Table, part: str, digest: str) -> str:
        return f"{_FOLDER}/{self.name(table, part, digest)}"


def _content(path: Path, table: Table) -> tuple[int, int] | None:
    """The rows of an object of a table, and its checksum; None if it is damaged or has other columns."""
    try:
        with path.open("rb") as file:
            if not is_intact(file):
                return None
            checksum = checksum_of(file)
        found = pq.ParquetFile(path)
    except (OSError, pa.ArrowException, ValueError):
        return None
    if checksum is None or found.schema_arrow != table.arrow_schema:
        return None
    return found.metadata.num_rows, checksum
