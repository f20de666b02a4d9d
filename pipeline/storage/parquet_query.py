"""SQL expressions by which DuckDB reads Parquet objects. No other module writes them.

By default, DuckDB adds columns from folder names (`pack_id=live`), takes `*`, `?` and `[` in a path for a pattern, and
returns all columns of a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import duckdb

from pipeline.schema.table import Table

_PATTERN_CHARACTER = re.compile(r"[*?\[]")


def read_parquet(table: Table, paths: Iterable[str]) -> str:
    """A FROM expression over the objects' rows, in the order of the paths, with the declared columns only.

    The first object determines the columns; DuckDB's error names an object that differs. Column types are those of the
    objects, so that objects of an earlier version can still be compared.
    """
    return f"(SELECT {_declared(table)} FROM read_parquet([{_list(paths)}], {_OPTIONS}{_schema(table)}))"


def read_parquet_with_origin(table: Table, paths: Iterable[str]) -> str:
    """As `read_parquet`, with `filename`, the object's path, and `file_row_number`, the row's number in it, from 0."""
    columns = f"{_declared(table)}, filename, file_row_number"
    return f"(SELECT {columns} FROM read_parquet([{_list(paths)}], {_OPTIONS}{_schema(table)}))"


def parquet_pattern(folder: str, url: str | None) -> str:
    """A FROM expression over all objects in a folder, or over those below a URL, for readers other than the pipeline.

    Its rows are in the order of the objects' names.
    """
    return f"read_parquet('{quoted(url or literal_path(folder))}/*.parquet', {_OPTIONS})"


def row_counts_of(connection: duckdb.DuckDBPyConnection, paths: Iterable[str]) -> dict[str, int]:
    """The number of rows of each object, by path, read from the footers alone."""
    sql = "SELECT file_name, num_rows FROM parquet_file_metadata($paths::VARCHAR[])"
    wanted = [literal_path(path) for path in paths]
    return dict(connection.execute(sql, {"paths": wanted}).fetchall()) if wanted else {}


def literal_path(path: str) -> str:
    """The path as a DuckDB pattern that matches this path only."""
    if not _PATTERN_CHARACTER.search(path):
        return path
    return _PATTERN_CHARACTER.sub(lambda match: f"[{match[0]}]", path)


def has_literal_path(path: str) -> bool:
    """Whether DuckDB can open the path. In a pattern, DuckDB takes each backslash for a separator."""
    return "\\" not in path or not _PATTERN_CHARACTER.search(path)


def quoted(text: object) -> str:
    """The text escaped for use between the quotes of an SQL string."""
    return str(text).replace("'", "''")


_OPTIONS = "hive_partitioning = false, union_by_name = false, binary_as_string = false, filename = false"


def _declared(table: Table) -> str:
    names = ", ".join(f"'{quoted(c.name)}'" for c in table.columns)
    return f"COLUMNS(lambda name: name IN ({names}))"


def _schema(table: Table) -> str:
    """The option that makes columns missing in objects of earlier versions NULL. It sets all types as declared."""
    if not any(c.may_be_missing for c in table.columns):
        return ""
    columns = ", ".join(
        f"'{c.name}': {{'name': '{c.name}', 'type': '{c.type}', 'default_value': NULL}}" for c in table.columns
    )
    return f", schema = MAP {{{columns}}}"


def _list(paths: Iterable[str]) -> str:
    return ", ".join(f"'{quoted(literal_path(path))}'" for path in paths)
