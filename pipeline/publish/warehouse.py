"""Builds the new DuckDB file beside the published one and replaces that in one step.

DuckDB locks a file that a notebook has open, so the published file is never modified: open readers keep the state that
they opened, and later ones see the new state. The new file inherits the mode and group of the old one. If the published
file is a symbolic link, its target is replaced.

If most rows are already in the published file, the new file starts as a copy of it. Rows are in the order of their
parts, so each table keeps its parts up to the first changed one and copies the others again; rows and order equal those
of a file built from nothing. The copy is discarded unless it equals the file as published, byte for byte. Newly copied
parts are verified first.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from io import BufferedWriter, FileIO
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from pipeline.errors import PipelineError
from pipeline.publish.record import Part, Record
from pipeline.schema import PUBLISHED
from pipeline.schema.table import Table
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.files import keep_access, place_of, sync
from pipeline.storage.objects import first_line
from pipeline.storage.parquet_query import quoted, read_parquet, row_counts_of
from pipeline.storage.write_behind import WriteBehind

Config = dict[str, str | bool | int | float | list[str]]
STORAGE_VERSION = "v1.2.0"  # readable by DuckDB 1.2 and later
_COPIED_AT_ONCE = 32 << 20  # bytes
_PIECES_AHEAD = 4  # copied pieces that may wait to be flushed to disk
_LEAST_KEPT_SHARE = 0.5  # of the rows; below it, copying everything is faster
_VERSIONS_KEPT = 3  # in an object store, for readers that opened one of them
_MOST_FREE_SHARE = 0.5  # of the blocks; above it, the next file is built from nothing


class PublishError(PipelineError):
    """The DuckDB file could not be built or opened. The published file, if any, is unchanged."""


@dataclass(frozen=True)
class Published:
    """The published file, its size in bytes, the rows of each table, and the number of rows kept from the old file.

    `is_unchanged` means that the file already held the whole lake and was not replaced.
    """

    path: Path
    size: int
    row_counts: dict[str, int]
    kept_row_count: int
    is_unchanged: bool = False


def publish(data: DataDirectory) -> Published:
    """Publishes every table of the lake unless the file is up to date. Needs the directory's lock.

    Raises PublishError.
    """
    data.current(data.warehouse)
    held = Record(data).all_parts(PUBLISHED)
    if held is not None and all(_holds(held[table], data.store.etags(table)) for table in PUBLISHED):
        row_counts = {table.name: _rows({table: parts}) for table, parts in held.items()}
        _wal(data.warehouse).unlink(missing_ok=True)
        return Published(data.warehouse, data.warehouse.stat().st_size, row_counts, _rows(held), is_unchanged=True)
    return _publish_anew(data)


def _holds(parts: list[Part], etags: Mapping[str, str]) -> bool:
    return {part.path: part.stamp for part in parts} == etags


def _publish_anew(data: DataDirectory) -> Published:
    place = place_of(data.warehouse)
    building = place.with_name(".phygitals.duckdb.building")
    record = Record(data)
    try:
        _remove(building)
        with connect(data) as connection, _attachable(building) as attached:
            held = {table: record.parts(table) for table in PUBLISHED}
            parts = {table: _parts(connection, data, table, held[table]) for table in PUBLISHED}
            kept = {table: _kept(parts[table], held[table]) for table in PUBLISHED}
            is_patch = _rows(kept) > 0 and _rows(kept) >= _LEAST_KEPT_SHARE * _rows(parts)
            if is_patch:
                _copy(data.warehouse, attached)
                is_patch = record.is_whole(attached)  # otherwise every run would copy the damage again
            if is_patch:
                connection.execute(f"ATTACH '{quoted(attached)}' AS published")
                _drop_former(connection)
            else:
                _remove(attached)
                kept = {table: [] for table in PUBLISHED}
                connection.execute(f"ATTACH '{quoted(attached)}' AS published (STORAGE_VERSION '{STORAGE_VERSION}')")
            for table in PUBLISHED:
                if parts[table] != held[table] or not is_patch:
                    data.store.verify(part.path for part in parts[table][len(kept[table]) :])
                    _sync_table(connection, data, table, kept[table], parts[table])
            connection.execute("CHECKPOINT published")
            is_wasteful = _free_share(connection) > _MOST_FREE_SHARE
            connection.execute("DETACH published")
        keep_access(building, place)
        sync(building)
        for path in {data.warehouse, place}:
            _wal(path).unlink(missing_ok=True)
        building.replace(place)
        data.push(data.warehouse, versions=_VERSIONS_KEPT)
        if is_wasteful:
            record.forget()
        else:
            record.save(parts)
    except (duckdb.Error, OSError, PipelineError) as error:
        with suppress(OSError):
            _remove(building)
        raise PublishError(
            f"{data.warehouse} could not be replaced and is unchanged: {first_line(error)}; correct the cause and run "
            "again"
        ) from error
    row_counts = {table.name: _rows({table: published}) for table, published in parts.items()}
    return Published(data.warehouse, data.warehouse.stat().st_size, row_counts, _rows(kept))


@contextmanager
def _attachable(target: Path) -> Iterator[Path]:
    """A path for DuckDB to write to; the file is moved to the target at the end of the block.

    It is the target itself unless the folder's path has a `?`, after which DuckDB does not find its write-ahead log.
    """
    if "?" not in str(target.parent):
        yield target
        return
    with TemporaryDirectory(prefix="phygitals-") as folder:
        elsewhere = Path(folder, target.name)
        yield elsewhere
        shutil.move(elsewhere, target)


def _copy(source: Path, target: Path) -> None:
    """Copies a large file whose source is deleted soon; each piece is flushed while the next one is copied.

    A later flush would delay DuckDB's first write. The source's cached pages are released for reuse by the target,
    since fresh memory is slow to get in a virtual machine; the target stays cached for its readers.
    """
    with (
        source.open("rb", buffering=0) as reading,
        target.open("wb") as writing,
        WriteBehind(_PIECES_AHEAD) as disk,
    ):
        while _copy_piece(reading, writing):
            disk.submit(os.fsync, writing.fileno())
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(reading.fileno(), 0, reading.tell(), os.POSIX_FADV_DONTNEED)


def _copy_piece(reading: FileIO, writing: BufferedWriter) -> bool:
    """Copies the next piece by the system call, which lets some file systems share blocks, or else by read and write.

    Disk errors are raised by the latter. Returns False at the end of the file.
    """
    with suppress(AttributeError, OSError):
        if os.copy_file_range(reading.fileno(), writing.fileno(), _COPIED_AT_ONCE) > 0:
            return True
    written = writing.write(reading.read(_COPIED_AT_ONCE))
    writing.flush()
    return written > 0


def _parts(connection: duckdb.DuckDBPyConnection, data: DataDirectory, table: Table, held: list[Part]) -> list[Part]:
    """The parts of the lake. Those that the published file holds are not opened."""
    paths = [path for of_part in data.store.parts(table).values() for path in of_part]
    etags = data.store.etags(table)
    row_counts = {part.path: part.row_count for part in held if part.stamp == etags.get(part.path)}
    row_counts |= row_counts_of(connection, data.store.fetched(path for path in paths if path not in row_counts))
    return [Part(path, etags[path], row_counts[path]) for path in paths]


def _kept(wanted: list[Part], held: list[Part]) -> list[Part]:
    """The common prefix of both lists of parts."""
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(wanted, held, strict=False))
    return [part for part, _ in pairs]


def _rows(parts: Mapping[Table, list[Part]]) -> int:
    return sum(part.row_count for of_table in parts.values() for part in of_table)


def _sync_table(
    connection: duckdb.DuckDBPyConnection, data: DataDirectory, table: Table, kept: list[Part], wanted: list[Part]
) -> None:
    """Replaces the table's parts after the `kept` ones by the rest of the `wanted` ones."""
    name = f"published.{table.name}"
    if kept:
        connection.execute(
            f"DELETE FROM {name} WHERE rowid >= (SELECT rowid FROM {name} LIMIT 1 OFFSET {_rows({table: kept})})"
        )
    else:
        connection.execute(f"DROP TABLE IF EXISTS {name}")
        _create(connection, table)
    if new := [part.path for part in wanted[len(kept) :]]:
        selected = ", ".join(f'"{c.name}"' for c in table.columns)
        connection.execute(f"INSERT INTO {name} SELECT {selected} FROM {read_parquet(table, data.store.fetched(new))}")


def _drop_former(connection: duckdb.DuckDBPyConnection) -> None:
    """Drops tables that only an earlier version of the pipeline published."""
    found = connection.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'published'").fetchall()
    for name in {name for (name,) in found} - {table.name for table in PUBLISHED}:
        connection.execute(f'DROP TABLE published."{name}"')


def _create(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    columns = ", ".join(f'"{c.name}" {c.type}{" NOT NULL" if c.is_required else ""}' for c in table.columns)
    name = f"published.{table.name}"
    connection.execute("BEGIN TRANSACTION")  # else each comment would be one, which syncs the write-ahead log
    connection.execute(f"CREATE TABLE {name} ({columns})")
    connection.execute(f"COMMENT ON TABLE {name} IS '{quoted(table.grain)}'")
    for column in table.columns:
        connection.execute(f"COMMENT ON COLUMN {name}.\"{column.name}\" IS '{quoted(column.meaning)}'")
    connection.execute("COMMIT")


def _free_share(connection: duckdb.DuckDBPyConnection) -> float:
    """The share of free blocks in the new file, left by deleted rows."""
    row = connection.execute(
        "SELECT free_blocks / greatest(total_blocks, 1) FROM pragma_database_size() WHERE database_name = 'published'"
    ).fetchone()
    return float(row[0]) if row else 0.0


def open_warehouse(path: Path, config: Config | None = None) -> closing[duckdb.DuckDBPyConnection]:
    """A read-only connection to the published file, with times in UTC; `config` has further DuckDB settings.

    Raises PublishError if the file does not exist or cannot be opened.
    """
    if not path.exists():
        raise PublishError(f"{path} does not exist yet: run `phygitals refresh` first")
    try:
        connection = duckdb.connect(path, read_only=True, config=config or {})
    except duckdb.Error as error:
        raise PublishError(
            f"{path} cannot be opened: {first_line(error)}; "
            "if it is damaged, delete it and run `phygitals refresh`, which publishes it again"
        ) from error
    connection.execute("SET TimeZone = 'UTC'")
    return closing(connection)


def _remove(building: Path) -> None:
    building.unlink(missing_ok=True)
    _wal(building).unlink(missing_ok=True)


def _wal(path: Path) -> Path:
    """The path of a file's write-ahead log. A stale log beside the published file breaks every new reader."""
    return path.with_name(path.name + ".wal")
