"""Builds the new DuckDB file beside the published one and replaces that in one step.

DuckDB locks a file that a notebook has open, so the published file is never modified: open readers keep the state that
they opened, and later ones see the new state. The new file inherits the mode and group of the old one. If the published
file is a symbolic link, its target is replaced.

If most rows are already in the published file, the new file starts as a copy of it. Rows are in the order of their
parts. Each table loses the parts that left the window, keeps the others up to the first changed one, and copies the
rest again; rows and order equal those of a file built from nothing. The copy is discarded unless it equals the file as
published, byte for byte. Newly copied parts are verified first.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from io import BufferedWriter, FileIO
from pathlib import Path

import duckdb

from pipeline.clock import now
from pipeline.errors import PipelineError
from pipeline.process import MEMORY_LIMIT
from pipeline.publish import PublishError, not_replaced
from pipeline.publish.building import attach_new, attachable, create, remove, wal_of
from pipeline.publish.lake_views import keep_lake_views
from pipeline.publish.record import Part, Record
from pipeline.schema import PUBLISHED
from pipeline.schema.publication import PUBLICATION
from pipeline.schema.table import Table
from pipeline.storage.checksum import RunningCrc
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.files import keep_access, place_of, sync
from pipeline.storage.objects import first_line
from pipeline.storage.parquet_query import quoted, read_parquet, row_counts_of
from pipeline.storage.window import Window
from pipeline.storage.write_behind import WriteBehind

Config = dict[str, str | bool | int | float | list[str]]
_COPIED_AT_ONCE = 32 << 20  # bytes
_PIECES_AHEAD = 4  # copied pieces that may wait to be flushed to disk
_LEAST_KEPT_SHARE = 0.5  # of the rows; below it, copying everything is faster
_VERSIONS_KEPT = 3  # in an object store, for readers that opened one of them
_WHOLE_LAKE = Window()
_MOST_FREE_SHARE = 0.5  # of the blocks; above it, the next file is built from nothing


@dataclass(frozen=True)
class Published:
    """The published file, its size in bytes, its window, the rows of each table, and how many the old file had.

    `is_unchanged` means that the file was up to date already and was not replaced.
    """

    path: Path
    size: int
    window: Window
    row_counts: dict[str, int]
    kept_row_count: int
    is_unchanged: bool = False


def publish(data: DataDirectory, window: Window = _WHOLE_LAKE) -> Published:
    """Publishes every table of the lake, within the window, unless the file is up to date.

    Needs the directory's lock, and tables that were built. Raises PublishError.
    """
    keep_lake_views(data)
    data.current(data.warehouse)
    wanted = {table: window.etags(data, table) for table in PUBLISHED}
    record = Record(data)
    held = record.all_parts(PUBLISHED, window)
    if held is not None and all(_holds(held[table], wanted[table]) for table in PUBLISHED):
        row_counts = {table.name: _rows({table: parts}) for table, parts in held.items()}
        wal_of(data.warehouse).unlink(missing_ok=True)
        size = data.warehouse.stat().st_size
        return Published(data.warehouse, size, window, row_counts, _rows(held), is_unchanged=True)
    return _publish_anew(data, window, wanted, record)


def _holds(parts: list[Part], etags: Mapping[str, str]) -> bool:
    return {part.path: part.stamp for part in parts} == etags


def _publish_anew(
    data: DataDirectory, window: Window, wanted: Mapping[Table, Mapping[str, str]], record: Record
) -> Published:
    place = place_of(data.warehouse)
    building = place.with_name(".phygitals.duckdb.building")
    try:
        remove(building)
        with connect(data) as connection, attachable(building) as attached:
            held = {table: record.parts(table) for table in PUBLISHED}
            parts = {table: _parts(connection, data, wanted[table], held[table]) for table in PUBLISHED}
            kept = {table: _kept(parts[table], held[table]) for table in PUBLISHED}
            is_patch = _rows(kept) > 0 and _rows(kept) >= _LEAST_KEPT_SHARE * _rows(parts)
            if is_patch:
                crc32 = _copy(data.warehouse, attached)
                is_patch = record.is_whole(crc32)  # otherwise every run would copy the damage again
            if is_patch:
                connection.execute(f"ATTACH '{quoted(attached)}' AS published")
                _drop_former(connection)
            else:
                remove(attached)
                kept = {table: [] for table in PUBLISHED}
                attach_new(connection, attached)
            create(connection, [table for table in PUBLISHED if not kept[table]])
            for table in PUBLISHED:
                if not kept[table] or parts[table] != held[table]:
                    data.store.verify(part.path for part in parts[table][len(kept[table]) :])
                    _remove_rows(connection, table, held[table], kept[table])
                    _add_rows(connection, data, table, kept[table], parts[table])
            _describe(connection, window)
            connection.execute("CHECKPOINT published")
            is_wasteful = _free_share(connection) > _MOST_FREE_SHARE
            connection.execute("DETACH published")
        keep_access(building, place)
        sync(building)
        for path in {data.warehouse, place}:
            wal_of(path).unlink(missing_ok=True)
        building.replace(place)
        data.push(data.warehouse, versions=_VERSIONS_KEPT)
        if is_wasteful:
            record.forget()
        else:
            record.save(parts, window)
    except (duckdb.Error, OSError, PipelineError) as error:
        with suppress(OSError):
            remove(building)
        raise not_replaced(data.warehouse, error) from error
    row_counts = {table.name: _rows({table: published}) for table, published in parts.items()}
    return Published(data.warehouse, data.warehouse.stat().st_size, window, row_counts, _rows(kept))


def _copy(source: Path, target: Path) -> int:
    """Copies a large file whose source is deleted soon, and returns the CRC-32 of the copy.

    Each piece is flushed, and read again for the CRC, while the next one is copied. A later flush would delay DuckDB's
    first write. The source's cached pages are released for reuse by the target, since fresh memory is slow to get in a
    virtual machine; the target stays cached for its readers.
    """
    with (
        source.open("rb", buffering=0) as reading,
        target.open("wb") as writing,
        target.open("rb") as copied,
        WriteBehind(_PIECES_AHEAD) as disk,
        WriteBehind(_PIECES_AHEAD) as sums,
    ):
        crc = RunningCrc(copied)
        while _copy_piece(reading, writing):
            disk.submit(os.fsync, writing.fileno())
            sums.submit(crc.read_until, reading.tell())
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(reading.fileno(), 0, reading.tell(), os.POSIX_FADV_DONTNEED)
    return crc.value


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


def _parts(
    connection: duckdb.DuckDBPyConnection, data: DataDirectory, etags: Mapping[str, str], held: list[Part]
) -> list[Part]:
    """The parts of these objects. Those that the published file holds are not opened."""
    row_counts = {part.path: part.row_count for part in held if part.stamp == etags.get(part.path)}
    row_counts |= row_counts_of(connection, data.store.fetched(path for path in etags if path not in row_counts))
    return [Part(path, etag, row_counts[path]) for path, etag in etags.items()]


def _kept(wanted: list[Part], held: list[Part]) -> list[Part]:
    """The held parts that the new file has as well, in the same order, up to the first one to be copied again."""
    still_wanted = {*wanted}.intersection(held)
    staying = [part for part in held if part in still_wanted]
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(wanted, staying, strict=False))
    return [part for part, _ in pairs]


def _rows(parts: Mapping[Table, list[Part]]) -> int:
    return sum(part.row_count for of_table in parts.values() for part in of_table)


def _remove_rows(connection: duckdb.DuckDBPyConnection, table: Table, held: list[Part], kept: list[Part]) -> None:
    """Removes the held parts that are not kept. A table of which none is kept was created anew and is empty."""
    if not kept:
        return
    name = f"published.{table.name}"
    for first, end in reversed(_ranges(held, {*kept})):
        bounds = [
            f"rowid {sign} (SELECT rowid FROM {name} LIMIT 1 OFFSET {at})" for sign, at in ((">=", first), ("<", end))
        ]
        connection.execute(
            f"DELETE FROM {name} WHERE {' AND '.join(bounds[: 1 if end == _rows({table: held}) else 2])}"
        )


def _ranges(held: list[Part], kept: set[Part]) -> list[tuple[int, int]]:
    """The rows of the held parts that are not kept: the first of each range, and the one after its last."""
    ranges, at = [], 0
    for is_kept, parts in itertools.groupby(held, kept.__contains__):
        end = at + sum(part.row_count for part in parts)
        if not is_kept and end > at:
            ranges.append((at, end))
        at = end
    return ranges


def _add_rows(
    connection: duckdb.DuckDBPyConnection, data: DataDirectory, table: Table, kept: list[Part], wanted: list[Part]
) -> None:
    """Appends the wanted parts after the kept ones."""
    name = f"published.{table.name}"
    if new := [part.path for part in wanted[len(kept) :]]:
        selected = ", ".join(f'"{c.name}"' for c in table.columns)
        connection.execute(f"INSERT INTO {name} SELECT {selected} FROM {read_parquet(table, data.store.fetched(new))}")


def _drop_former(connection: duckdb.DuckDBPyConnection) -> None:
    """Drops the tables that are not made from parts, among them those that only an earlier version published."""
    found = connection.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'published'").fetchall()
    for name in {name for (name,) in found} - {table.name for table in PUBLISHED}:
        connection.execute(f'DROP TABLE published."{name}"')


def _describe(connection: duckdb.DuckDBPyConnection, window: Window) -> None:
    """Creates the table that names the window."""
    create(connection, [PUBLICATION])
    connection.execute(
        f"INSERT INTO published.{PUBLICATION.name} VALUES (?, ?, ?, ?)",
        [window.publish_days, window.first_day, window.last_day, now()],
    )


def _free_share(connection: duckdb.DuckDBPyConnection) -> float:
    """The share of free blocks in the new file, left by deleted rows."""
    row = connection.execute(
        "SELECT free_blocks / greatest(total_blocks, 1) FROM pragma_database_size() WHERE database_name = 'published'"
    ).fetchone()
    return float(row[0]) if row else 0.0


def open_warehouse(
    path: Path, memory_limit: str = MEMORY_LIMIT, config: Config | None = None
) -> closing[duckdb.DuckDBPyConnection]:
    """A read-only connection to the published file, with times in UTC; `config` has further DuckDB settings.

    Raises PublishError if the file does not exist or cannot be opened.
    """
    with _explained(path):
        connection = duckdb.connect(path, read_only=True, config={"memory_limit": memory_limit} | (config or {}))
    connection.execute("SET TimeZone = 'UTC'")
    return closing(connection)


def attach_warehouse(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Attaches the published file to another database, read-only, as `published`.

    A process that has opened the file by its path gets the same file there until it closes it, also if another one was
    published since; a database of its own attaches that one. Raises PublishError.
    """
    with _explained(path):
        connection.execute(f"ATTACH '{quoted(path)}' AS published (READ_ONLY)")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Raises PublishError if the published file does not exist or DuckDB cannot open it."""
    if not path.exists():
        raise PublishError(f"{path} does not exist yet: run `phygitals refresh` first")
    try:
        yield
    except duckdb.Error as error:
        raise PublishError(
            f"{path} cannot be opened: {first_line(error)}; "
            "if it is damaged, delete it and run `phygitals refresh`, which publishes it again"
        ) from error
