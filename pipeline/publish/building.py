"""DuckDB files that are built beside the ones that they replace."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

from pipeline.schema.table import Table
from pipeline.storage.parquet_query import quoted

STORAGE_VERSION = "v1.2.0"  # readable by DuckDB 1.2 and later


@contextmanager
def attachable(target: Path) -> Iterator[Path]:
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


def attach_new(connection: duckdb.DuckDBPyConnection, file: Path) -> None:
    """Attaches a new file as `published`, in a format that earlier versions of DuckDB can read."""
    connection.execute(f"ATTACH '{quoted(file)}' AS published (STORAGE_VERSION '{STORAGE_VERSION}')")


def comment(connection: duckdb.DuckDBPyConnection, kind: str, table: Table) -> None:
    """Describes a table, or a view of it, and its columns. `kind` is `TABLE` or `VIEW`."""
    name = f"published.{table.name}"
    connection.execute(f"COMMENT ON {kind} {name} IS '{quoted(table.grain)}'")
    for column in table.columns:
        connection.execute(f"COMMENT ON COLUMN {name}.\"{column.name}\" IS '{quoted(column.meaning)}'")


def create(connection: duckdb.DuckDBPyConnection, table: Table) -> None:
    """Creates an empty table as declared."""
    columns = ", ".join(f'"{c.name}" {c.type}{" NOT NULL" if c.is_required else ""}' for c in table.columns)
    connection.execute("BEGIN TRANSACTION")  # else each comment would be one, which syncs the write-ahead log
    connection.execute(f"CREATE TABLE published.{table.name} ({columns})")
    comment(connection, "TABLE", table)
    connection.execute("COMMIT")


def remove(building: Path) -> None:
    """Removes a file, and its write-ahead log."""
    building.unlink(missing_ok=True)
    wal_of(building).unlink(missing_ok=True)


def wal_of(path: Path) -> Path:
    """The path of a file's write-ahead log. A stale log beside a published file breaks every new reader."""
    return path.with_name(path.name + ".wal")
