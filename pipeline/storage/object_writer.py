"""Writes one Parquet object under a temporary name, and renames it when it is complete and synced."""

from __future__ import annotations

import contextlib
import os

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from pipeline.storage.checksum import end_with_checksum
from pipeline.storage.errors import StoreError
from pipeline.storage.object_storage import ObjectStorage
from pipeline.storage.replaced_names import replaces_note

_ROWS_PER_GROUP = 122_880  # DuckDB's row-group size: DuckDB reads row groups in parallel


class ObjectWriter:
    """Writes one Parquet object and makes it visible only when it is complete.

    After the block, `row_count`, `checksum` and `entry` describe the object.
    """

    def __init__(
        self, storage: ObjectStorage, key: str, schema: pa.Schema, replaces: list[str], group_bytes: int
    ) -> None:
        self.row_count = 0
        self._storage = storage
        self._key = key
        self._group: list[pa.RecordBatch] = []
        self._group_rows = 0
        self._group_bytes = 0
        self._most_group_bytes = group_bytes
        self._schema = schema
        self._replaces = replaces
        self._target = storage.root / key
        self._path = self._target.with_name(f".{self._target.name}.{os.getpid()}.tmp")

    def __enter__(self) -> ObjectWriter:
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._sink = fs.LocalFileSystem().open_output_stream(str(self._path))
            self._writer = pq.ParquetWriter(
                self._sink,
                self._schema,
                compression="zstd",
                store_decimal_as_integer=True,
                write_page_index=True,
                write_page_checksum=True,
            )
        except OSError as error:
            self._remove_unfinished()
            raise self._error(error) from error
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        """Appends rows, converted to the declared schema. Small batches are gathered into one row group."""
        rows = batch.cast(self._schema)
        self._group.append(rows)
        self._group_rows += rows.num_rows
        self._group_bytes += rows.nbytes
        self.row_count += rows.num_rows
        if self._group_rows >= _ROWS_PER_GROUP or self._group_bytes >= self._most_group_bytes:
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
            if failed is None:
                self._finish()
        except OSError as error:
            raise self._error(error) from error
        finally:
            # Closing an abandoned file may fail again; a second error adds no information.
            with contextlib.suppress(OSError, pa.ArrowException):
                self._writer.close()
            with contextlib.suppress(OSError):
                self._sink.close()
            self._remove_unfinished()

    def _finish(self) -> None:
        if self._group:
            self._write_group()
        if self._replaces:
            self._writer.add_key_value_metadata(replaces_note(self._replaces))
        self._writer.close()
        self._publish()

    def _remove_unfinished(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _publish(self) -> None:
        self._sink.close()
        with self._path.open("rb+") as file:
            end_at, end, self.checksum = end_with_checksum(file)
            file.seek(end_at)
            file.write(end)
        self.entry = self._storage.put(self._path, self._key)

    def _error(self, error: OSError) -> StoreError:
        return StoreError(
            f"{self._target} could not be written: {error}; its former content is unchanged: "
            "free some space or correct the permissions, then run again"
        )
