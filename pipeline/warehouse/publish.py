"""Builds the DuckDB file beside the published one and replaces it in one step.

DuckDB locks a file that a notebook has open, so the published file is never written to: readers that
have it open keep the state they opened, and the next to open it sees the new one.
"""

from __future__ import annotations

import os
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb

from pipeline.errors import PipelineError
from pipeline.lake.database import connect
from pipeline.lake.directory import DataDirectory
from pipeline.lake.store import first_line
from pipeline.schema import PUBLISHED
from pipeline.schema.table import Table

STORAGE_VERSION = "v1.2.0"  # what any DuckDB from 1.2 on can read


class PublishError(PipelineError):
    """The DuckDB file could not be built. The published one, if any, is untouched."""


@dataclass(frozen=True)
class Published:
    """The published file, its size in bytes, and the rows of each table."""

    path: Path
    size: int
    row_counts: dict[str, int]


def publish(data: DataDirectory) -> Published:
    """Publishes every table of the lake. Needs the directory's lock. Raises PublishError."""
    building = data.root / ".phygitals.duckdb.building"
    try:
        _remove(building)
        with connect(data) as connection:
            connection.execute(f"ATTACH '{_quoted(building)}' AS published (STORAGE_VERSION '{STORAGE_VERSION}')")
            row_counts = {table.name: _copy(connection, data, table) for table in PUBLISHED}
            connection.execute("CHECKPOINT published")
            connection.execute("DETACH published")
        with building.open("rb") as file:
            os.fsync(file.fileno())
        # A write-ahead log left beside the published file would break every new reader.
        _wal(data.warehouse).unlink(missing_ok=True)
        building.replace(data.warehouse)
    except (duckdb.Error, OSError, PipelineError) as error:
        with suppress(OSError):
            _remove(building)
        raise PublishError(
            f"{data.warehouse} could not be replaced: {first_line(error)}; "
            "the published file is as it was: mend the cause and run again"
        ) from error
    return Published(data.warehouse, data.warehouse.stat().st_size, row_counts)


def _copy(connection: duckdb.DuckDBPyConnection, data: DataDirectory, table: Table) -> int:
    columns = ", ".join(f'"{c.name}" {c.type}{" NOT NULL" if c.is_required else ""}' for c in table.columns)
    name = f"published.{table.name}"
    connection.execute(f"CREATE TABLE {name} ({columns})")
    selected = ", ".join(f'"{c.name}"' for c in table.columns)
    connection.execute(f"INSERT INTO {name} SELECT {selected} FROM {data.store.scan(table)}")
    connection.execute(f"COMMENT ON TABLE {name} IS '{_quoted(table.grain)}'")
    for column in table.columns:
        connection.execute(f"COMMENT ON COLUMN {name}.\"{column.name}\" IS '{_quoted(column.description)}'")
    row = connection.execute(f"SELECT count(*) FROM {name}").fetchone()
    return int(row[0]) if row else 0


def open_warehouse(path: Path) -> closing[duckdb.DuckDBPyConnection]:
    """The published file, for reading, with times shown in UTC.

    Raises PublishError when nothing has been published yet, or the file does not open.
    """
    if not path.exists():
        raise PublishError(f"{path} does not exist yet: run `phygitals refresh` first")
    try:
        connection = duckdb.connect(path, read_only=True)
    except duckdb.Error as error:
        raise PublishError(
            f"{path} cannot be opened: {first_line(error)}; "
            "if it is damaged, delete it: `phygitals refresh` publishes it anew"
        ) from error
    connection.execute("SET TimeZone = 'UTC'")
    return closing(connection)


def _remove(building: Path) -> None:
    building.unlink(missing_ok=True)
    _wal(building).unlink(missing_ok=True)


def _wal(path: Path) -> Path:
    return path.with_name(path.name + ".wal")


def _quoted(text: object) -> str:
    return str(text).replace("'", "''")
