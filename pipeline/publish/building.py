"""DuckDB files that are built beside the ones that they replace."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
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


def comments(kind: str, table: Table) -> list[str]:
    """The statements that describe a table, or a view of it, and its columns. `kind` is `TABLE` or `VIEW`."""
    name = f"published.{table.name}"
    return [
        f"COMMENT ON {kind} {name} IS '{quoted(table.grain)}'",
        *(f"COMMENT ON COLUMN {name}.\"{column.name}\" IS '{quoted(column.meaning)}'" for column in table.columns),
    ]


def create(connection: duckdb.DuckDBPyConnection, tables: Iterable[Table]) -> None:
    """Creates empty tables as declared, each in the place of a former one."""
    in_one_transaction(connection, [statement for table in tables for statement in _creation(table)])


def in_one_transaction(connection: duckdb.DuckDBPyConnection, statements: Iterable[str]) -> None:
    """Runs the statements as one text: hundreds of transactions or calls would take twice as long."""
    connection.execute(";\n".join(["BEGIN TRANSACTION", *statements, "COMMIT"]))


def _creation(table: Table) -> list[str]:
    name = f"published.{table.name}"
    columns = ", ".join(f'"{c.name}" {c.type}{" NOT NULL" if c.is_required else ""}' for c in table.columns)
    return [f"DROP TABLE IF EXISTS {name}", f"CREATE TABLE {name} ({columns})", *comments("TABLE", table)]


def remove(building: Path) -> None:
    """Removes a file, and its write-ahead log."""
    building.unlink(missing_ok=True)
    wal_of(building).unlink(missing_ok=True)


def wal_of(path: Path) -> Path:
    """The path of a file's write-ahead log. A stale log beside a published file breaks every new reader."""
    return path.with_name(path.name + ".wal")
