"""Stores Parquet objects: their paths, and their atomic replacement.

A table's object is `<zone>/<table>/<part>.parquet`. The part is a UTC day, or the table's name for a table without
days. A raw table has several objects per part, in the folder `<zone>/<table>/<part>/`. Paths are kept as text to save
memory, because a long history has very many.

A merged raw object names the replaced objects in its metadata. Replaced objects are not listed, so publishing the
merged object also hides the others, in one step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs

from pipeline.schema.table import Table, Zone
from pipeline.storage.checksum import bodies_are_whole, checksum_of, is_intact
from pipeline.storage.day_parts import Span, minute_of
from pipeline.storage.errors import DamagedFileError, MissingFileError, StoreError
from pipeline.storage.object_storage import Entry, ObjectStorage
from pipeline.storage.object_writer import ObjectWriter
from pipeline.storage.parquet_query import quoted, read_parquet, read_parquet_with_origin
from pipeline.storage.replaced_names import names_replaced
from pipeline.storage.write_behind import WriteBehind

MERGED = "merged-"  # prefix of the names of merged objects
_ROWS_READ = 8_192
# Row groups also end at a size in bytes, to save memory with large rows. Only derived objects may have larger ones.
GROUP_BYTES = 16 * 1024 * 1024
_SMALL_GROUP_BYTES = 8 * 1024 * 1024
_BATCHES_AHEAD = 2
_FILES = fs.LocalFileSystem()  # passed explicitly, so that Arrow takes no path for a URL
_FAILURES = (OSError, pa.ArrowException, ValueError)  # errors of reading; invalid UTF-8 is a ValueError


class Store:
    """The tables' Parquet objects below a data directory."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage
        self._root = storage.root.as_posix()
        self._names_replaced: dict[str, frozenset[str]] = {}

    @property
    def is_remote(self) -> bool:
        """Whether the objects are in an object store."""
        return self._storage.is_remote

    def folder(self, table: Table) -> str:
        """The path of the folder of the table's objects."""
        return f"{self._root}/{table.zone.value}/{table.name}"

    def parts(self, table: Table) -> dict[str, list[str]]:
        """The paths of the table's objects, by part. Raises StoreError if a merged object cannot be read."""
        return {part: list(sizes) for part, sizes in self.sized_parts(table).items()}

    def sized_parts(self, table: Table) -> dict[str, dict[str, int]]:
        """As `parts`, with the size in bytes of each object."""
        sizes: dict[str, dict[str, int]] = {}
        for entry in self._entries(self.folder(table)):
            path = self._path(entry)
            sizes.setdefault(self._part_of(table, path), {})[path] = entry.size
        current = self._without_replaced(table, {part: list(of_part) for part, of_part in sizes.items()})
        return {part: {path: sizes[part][path] for path in paths} for part, paths in current.items()}

    def part(self, table: Table, part: str) -> list[str]:
        """The paths of one part's objects, at a cost independent of the other parts. Raises StoreError like `parts`."""
        if table.zone is Zone.RAW:
            found = self._files(f"{self.folder(table)}/{part}")
        else:
            path = f"{self.folder(table)}/{part}.parquet"
            found = [path] if self._storage.find(self._key(path)) else []
        return self._without_replaced(table, {part: found})[part]

    def _without_replaced(self, table: Table, found: dict[str, list[str]]) -> dict[str, list[str]]:
        for part, by_merged in self._replaced(table, found).items():
            hidden = {path for paths in by_merged.values() for path in paths}
            found[part] = [path for path in found[part] if path not in hidden]
        return found

    def replaced(self, table: Table) -> dict[str, dict[str, list[str]]]:
        """By part and merged object: the replaced objects that still exist."""
        return self._replaced(table, self._found(table))

    def _replaced(self, table: Table, found: dict[str, list[str]]) -> dict[str, dict[str, list[str]]]:
        replaced: dict[str, dict[str, list[str]]] = {}
        for part, paths in found.items():
            if table.zone is not Zone.RAW or len(paths) == 1:
                continue
            for merged in (path for path in paths if is_merged(path)):
                names = self.names_replaced(merged)
                if present := [path for path in paths if file_name(path) in names]:
                    replaced.setdefault(part, {})[merged] = present
        return replaced

    def names_replaced(self, merged: str) -> frozenset[str]:
        """The names of all objects that a merged object replaces, directly or through an earlier merged object."""
        # A merged object's name is derived from the replaced objects, so its list never changes.
        if merged not in self._names_replaced:
            try:
                with self._open(merged) as file:
                    metadata = file.metadata.metadata or {}
            except MissingFileError:
                return frozenset()  # another object replaces it and all objects that it replaced
            try:
                self._names_replaced[merged] = names_replaced(metadata)
            except ValueError as error:
                raise self.damaged(merged, error) from error
        return self._names_replaced[merged]

    def _found(self, table: Table) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path in self._files(self.folder(table)):
            found.setdefault(self._part_of(table, path), []).append(path)
        return found

    def _part_of(self, table: Table, path: str) -> str:
        inside = path.removeprefix(self.folder(table)).removesuffix(".parquet").strip("/")
        return inside.split("/")[0]

    def _files(self, folder: str) -> list[str]:
        return [self._path(entry) for entry in self._entries(folder)]

    def _entries(self, folder: str) -> list[Entry]:
        return [entry for entry in self._storage.listing(self._key(folder)) if entry.key.endswith(".parquet")]

    def _path(self, entry: Entry) -> str:
        return f"{self._root}/{entry.key}"

    def _key(self, path: str) -> str:
        return path.removeprefix(f"{self._root}/")

    def writer(
        self,
        table: Table,
        part: str,
        name: str | None = None,
        replaces: Iterable[str] = (),
        group_bytes: int = _SMALL_GROUP_BYTES,
    ) -> ObjectWriter:
        """A writer of one object, which becomes visible when the `with` block ends without an error.

        From then on the part's objects named in `replaces` are not listed.
        """
        target = f"{self.folder(table)}/{part}/{name}.parquet" if name else f"{self.folder(table)}/{part}.parquet"
        return ObjectWriter(self._storage, self._key(target), table.arrow_schema, sorted(replaces), group_bytes)

    def write(self, table: Table, part: str, batches: Iterable[pa.RecordBatch]) -> ObjectWriter:
        """Replaces one part's object and returns its writer. Rows are written while later rows are derived."""
        with self.writer(table, part, group_bytes=GROUP_BYTES) as writer:
            write_behind(writer, batches)
        return writer

    def read(self, path: str) -> Iterator[pa.RecordBatch]:
        """An object's rows in order, in batches. Verifies the checksum of each page. Raises StoreError."""
        try:
            with self._open(path) as file:
                # Read by row group: a batch across groups of large rows would keep all of them in memory.
                for group in range(file.num_row_groups):
                    yield from file.iter_batches(_ROWS_READ, row_groups=[group])
        except _FAILURES as error:
            raise self._unreadable(path, error) from error

    def verify(self, paths: Iterable[str]) -> None:
        """Reads every byte of the objects. Raises DamagedFileError if one is damaged, StoreError if one cannot be read.

        Objects of earlier versions have no checksum. For these, all pages are decoded, and each answer is compared with
        its SHA-256.
        """
        for path in paths:
            try:
                self.fetched([path])
                with Path(path).open("rb") as file:
                    intact = is_intact(file)
            except _FAILURES as error:
                raise self._unreadable(path, error) from error
            if intact is False and self._storage.fetch_again(self._key(path)):
                with Path(path).open("rb") as file:
                    intact = is_intact(file)
            if intact is False:
                raise self.damaged(path, "its content does not match its checksum")
            if intact is None and not all(bodies_are_whole(rows) for rows in self.read(path)):
                raise self.damaged(path, "an answer in it does not match its SHA-256")

    def spans(self, path: str, time: str) -> list[Span]:
        """The minutes of an object's rows, by row group, from a column of times. Raises StoreError."""
        try:
            with self._open(path) as file:
                groups = [file.read_row_group(number, [time])[time] for number in range(file.num_row_groups)]
        except _FAILURES as error:
            raise self._unreadable(path, error) from error
        bounds = [(pc.min_max(times).as_py(), len(times)) for times in groups if len(times)]
        return [Span(minute_of(ends["min"]), minute_of(ends["max"]), count) for ends, count in bounds]

    def modified_at(self, path: str) -> datetime:
        """The time at which the object was published, by the clock of its storage. Raises MissingFileError."""
        entry = self._storage.find(self._key(path))
        if entry is None:
            raise _missing(path)
        return datetime.fromtimestamp(entry.modified_ns / 1e9, UTC)

    def byte_count(self, table: Table) -> int:
        """The total size of the table's objects, without replaced ones."""
        current = {path for of_part in self.parts(table).values() for path in of_part}
        return sum(entry.size for entry in self._entries(self.folder(table)) if self._path(entry) in current)

    def etags(self, table: Table) -> dict[str, str]:
        """The etags of the table's objects, by path. Every replacement changes an object's etag."""
        return {self._path(entry): entry.etag for entry in self._entries(self.folder(table))}

    def delete(self, table: Table, part: str) -> None:
        for path in self.part(table, part):
            self.remove(path)

    def remove(self, path: str) -> None:
        """Deletes one object. Raises StoreError."""
        try:
            self._storage.delete(self._key(path))
        except OSError as error:
            raise StoreError(
                f"{path} could not be deleted: {error}; correct the permissions, then run again"
            ) from error

    def checksum(self, path: str) -> int | None:
        """The object's verified checksum; None if it has none. Raises StoreError, DamagedFileError."""
        self.verify([path])
        with Path(path).open("rb") as file:
            return checksum_of(file)

    def damaged_objects(self, table: Table, reads_all: bool = False) -> Iterator[tuple[str, DamagedFileError]]:
        """The paths of the table's damaged objects, each with its error. Raises StoreError.

        Opens each object; with `reads_all`, also reads every byte.
        """
        for path in (path for paths in self._found(table).values() for path in paths):
            try:
                self._open(path).close()
                if reads_all:
                    self.verify([path])
            except DamagedFileError as error:
                yield path, error

    def damaged(self, path: str, cause: object) -> DamagedFileError:
        """The error for an unreadable object, with the remedy."""
        is_raw = PurePosixPath(path).is_relative_to(f"{self._root}/{Zone.RAW.value}")
        remedy = (
            "a raw object cannot be derived again: restore it from a backup"
            if is_raw
            else "delete it: the next run derives it again from raw"
        )
        return DamagedFileError(f"{path} cannot be read: {first_line(cause)}; {remedy}")

    def _open(self, path: str) -> pq.ParquetFile:
        try:
            self.fetched([path])
            return pq.ParquetFile(path, filesystem=_FILES, page_checksum_verification=True)
        except _FAILURES as error:
            raise self._unreadable(path, error) from error

    def _unreadable(self, path: str, error: Exception) -> StoreError:
        if isinstance(error, FileNotFoundError):
            return _missing(path)
        # Arrow reports damage as an OSError without an errno.
        if getattr(error, "errno", None) is None:
            return self.damaged(path, error)
        return StoreError(
            f"{path} could not be read: {error}; repair the disk or correct the permissions, then run again"
        )

    def fetched(self, paths: Iterable[str]) -> list[str]:
        """The same paths, once each file is the current object. Everything that reads files itself goes through it."""
        wanted = list(paths)
        self._storage.fetch(map(self._key, wanted))
        return wanted

    def scan(self, table: Table, parts: Iterable[str] | None = None) -> str:
        """A FROM expression for DuckDB over the table's objects, or over those of the given parts."""
        chosen = self.parts(table) if parts is None else {part: self.part(table, part) for part in parts}
        return self.relation(table, [path for part in sorted(chosen) for path in chosen[part]])

    def relation(self, table: Table, paths: list[str]) -> str:
        """A FROM expression for DuckDB over these objects of the table, in this order.

        If there are no objects, it is an empty relation with the declared columns.
        """
        if not paths:
            nulls = ", ".join(f'NULL::{c.type} AS "{c.name}"' for c in table.columns)
            return f"(SELECT {nulls} WHERE false)"
        return read_parquet(table, self.fetched(paths))

    def scan_with_origin(self, table: Table) -> str:
        """A DuckDB query for all rows with their origin.

        `raw_file` is the object's path below the root, `raw_row` the row's number in it, from 1.
        """
        paths = [path for paths in self.parts(table).values() for path in paths]
        if not paths:
            return f"SELECT *, NULL::VARCHAR AS raw_file, NULL::BIGINT AS raw_row FROM {self.scan(table)}"
        self.fetched(paths)
        return (
            "SELECT * EXCLUDE (filename, file_row_number), file_row_number + 1 AS raw_row, "
            f"replace(filename, '{quoted(self._root)}/', '') AS raw_file "
            f"FROM {read_parquet_with_origin(table, paths)}"
        )

    def sweep(self) -> None:
        """Removes temporary files of dead writers. Needs the directory's lock."""
        # Only the zones belong to the store: hidden files in the inbox are users' incomplete files.
        for path in (path for zone in Zone for path in (self._storage.root / zone.value).glob("**/.*.tmp")):
            path.unlink(missing_ok=True)


def write_behind(writer: ObjectWriter, batches: Iterable[pa.RecordBatch]) -> None:
    """Writes rows while later rows are derived."""
    with WriteBehind(_BATCHES_AHEAD) as behind:
        for batch in batches:
            behind.submit(writer.write, batch)


def _missing(path: str) -> MissingFileError:
    return MissingFileError(f"{path} was deleted while it was being read: run again")


def file_name(path: str) -> str:
    return path.rpartition("/")[2]


def is_merged(path: str) -> bool:
    """Whether the object was merged from others."""
    return file_name(path).startswith(MERGED)


def first_line(cause: object) -> str:
    """The first line of an error's text, without the library's advice and positions."""
    return (str(cause).splitlines() or [type(cause).__name__])[0].strip()
