"""The one place that knows where Parquet objects lie, and that replaces each one whole.

A table's object is `<zone>/<table>/<part>.parquet`; the part is a UTC day, or the table's own name
where it is not cut by day. Locally an object is written under a temporary name, synced and renamed;
on an object store it is one upload, which is atomic by itself. Either way a reader sees the old
object or the new one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from pipeline.errors import PipelineError
from pipeline.schema.table import Table

ROWS_PER_GROUP = 122_880  # DuckDB's own row-group size: one group, one unit of its parallelism
_ROWS_PER_READ = 8_192
_GROUP_BYTES = 8 * 1024 * 1024  # a group of large rows is closed earlier, for memory's sake


class StoreError(PipelineError):
    """An object could not be written or read. The message names it."""


class Store:
    """Parquet objects below a URL such as `file:///data/local`."""

    def __init__(self, url: str) -> None:
        self._fs, self._root = fs.FileSystem.from_uri(url)
        self._is_local = isinstance(self._fs, fs.LocalFileSystem)

    def folder(self, table: Table) -> str:
        """Where the table's objects lie, for people."""
        return f"{self._root}/{table.zone.value}/{table.name}"

    def parts(self, table: Table) -> dict[str, list[str]]:
        """The table's objects by part. Raw tables have several objects a part, in a folder of its name."""
        selector = fs.FileSelector(self.folder(table), allow_not_found=True, recursive=True)
        found: dict[str, list[str]] = {}
        for info in sorted(self._fs.get_file_info(selector), key=lambda i: i.path):
            path = PurePosixPath(info.path)
            inside = path.relative_to(self.folder(table))
            if info.type == fs.FileType.File and path.suffix == ".parquet" and not path.name.startswith("."):
                part = inside.parts[0] if len(inside.parts) > 1 else path.stem
                found.setdefault(part, []).append(info.path)
        return found

    def writer(self, table: Table, part: str, name: str | None = None) -> ObjectWriter:
        """A writer of one object; it appears, whole, when the `with` block ends without an error."""
        target = f"{self.folder(table)}/{part}/{name}.parquet" if name else f"{self.folder(table)}/{part}.parquet"
        return ObjectWriter(self._fs, self._is_local, target, table.arrow_schema)

    def write(self, table: Table, part: str, batches: Iterable[pa.RecordBatch]) -> int:
        """Replaces the object of one part by these rows; returns their number."""
        with self.writer(table, part) as writer:
            for batch in batches:
                writer.write(batch)
        return writer.row_count

    def read(self, path: str) -> Iterator[pa.RecordBatch]:
        """The rows of one object that `parts` named, batch by batch."""
        with self._fs.open_input_file(path) as source:
            yield from pq.ParquetFile(source).iter_batches(_ROWS_PER_READ)

    def delete(self, table: Table, part: str) -> None:
        for path in self.parts(table).get(part, []):
            self._fs.delete_file(path)

    def scan(self, table: Table, parts: Iterable[str] | None = None) -> str:
        """A FROM expression for DuckDB over the table's objects, or over those of some parts.

        A table without objects is an empty relation of its declared columns.
        """
        by_part = self.parts(table)
        chosen = by_part if parts is None else [p for p in parts if p in by_part]
        paths = [path for part in sorted(chosen) for path in by_part[part]]
        if not paths:
            nulls = ", ".join(f'NULL::{c.type} AS "{c.name}"' for c in table.columns)
            return f"(SELECT {nulls} WHERE false)"
        return f"read_parquet([{_quoted(paths)}])"

    def scan_with_origin(self, table: Table) -> str:
        """A query for DuckDB of all rows, with `raw_file`, the object below the root, and `raw_row` in it, from 1."""
        paths = [path for paths in self.parts(table).values() for path in paths]
        if not paths:
            return f"SELECT *, NULL::VARCHAR AS raw_file, NULL::BIGINT AS raw_row FROM {self.scan(table)}"
        return (
            "SELECT * EXCLUDE (filename, file_row_number), file_row_number + 1 AS raw_row, "
            f"replace(filename, '{_escaped(self._root)}/', '') AS raw_file "
            f"FROM read_parquet([{_quoted(paths)}], filename = true, file_row_number = true)"
        )

    def sweep(self) -> None:
        """Removes what dead writers left behind. Only the holder of the directory's lock may call it."""
        if self._is_local:
            for path in Path(self._root).glob("*/*/**/.*.tmp"):
                path.unlink(missing_ok=True)


def _quoted(paths: Iterable[str]) -> str:
    return ", ".join(f"'{_escaped(path)}'" for path in paths)


def _escaped(text: str) -> str:
    return text.replace("'", "''")


class ObjectWriter:
    """Writes one Parquet object and makes it visible only when all of it is there."""

    def __init__(self, filesystem: fs.FileSystem, is_local: bool, target: str, schema: pa.Schema) -> None:
        self.row_count = 0
        self._group: list[pa.RecordBatch] = []
        self._group_rows = 0
        self._group_bytes = 0
        self._fs = filesystem
        self._is_local = is_local
        self._schema = schema
        self._target = target
        path = PurePosixPath(target)
        self._path = str(path.with_name(f".{path.name}.{os.getpid()}.tmp")) if is_local else target

    def __enter__(self) -> ObjectWriter:
        try:
            self._fs.create_dir(str(PurePosixPath(self._target).parent), recursive=True)
            # A failed upload would leave a part behind, so what goes to an object store is complete first.
            self._sink = self._fs.open_output_stream(self._path) if self._is_local else pa.BufferOutputStream()
        except OSError as error:
            raise self._error(error) from error
        self._writer = pq.ParquetWriter(
            self._sink, self._schema, compression="zstd", store_decimal_as_integer=True, write_page_index=True
        )
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        """Appends rows, converted to the declared schema. Small batches are gathered into one row group."""
        rows = batch.cast(self._schema)
        self._group.append(rows)
        self._group_rows += rows.num_rows
        self._group_bytes += rows.nbytes
        self.row_count += rows.num_rows
        if self._group_rows >= ROWS_PER_GROUP or self._group_bytes >= _GROUP_BYTES:
            self._write_group()

    def _write_group(self) -> None:
        rows = pa.Table.from_batches(self._group, self._schema)
        self._group, self._group_rows, self._group_bytes = [], 0, 0
        try:
            self._writer.write_table(rows, row_group_size=max(1, rows.num_rows))
        except OSError as error:
            raise self._error(error) from error

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        try:
            if failed is None and self._group:
                self._write_group()
            self._writer.close()
            if failed is None:
                self._publish()
        except OSError as error:
            if failed is None:
                raise self._error(error) from error
        finally:
            if self._is_local:
                Path(self._path).unlink(missing_ok=True)

    def _publish(self) -> None:
        if not self._is_local:
            with self._fs.open_output_stream(self._target) as upload:
                upload.write(self._sink.getvalue())
            return
        self._sink.close()
        sync(self._path)
        self._fs.move(self._path, self._target)
        sync(str(PurePosixPath(self._target).parent))

    def _error(self, error: OSError) -> StoreError:
        return StoreError(
            f"{self._target} could not be written: {error}; what was there before is untouched: "
            "make room or mend the permissions, then run again"
        )


def sync(path: str | Path) -> None:
    """Makes a file, or the entries of a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
