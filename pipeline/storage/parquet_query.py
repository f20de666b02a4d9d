"""How DuckDB is told to read Parquet objects: what the text of a query says of them is written here alone.

Left to itself, DuckDB reads columns out of the names of folders (`pack_id=live`), takes `*`, `?` and `[` in a path for
a pattern, and gives whatever columns a file has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import duckdb

from pipeline.schema.table import Table

_PATTERN_CHARACTER = re.compile(r"[*?\[]")


def read_parquet(table: Table, paths: Iterable[str]) -> str:
    """A FROM expression over the objects' rows, in the order of the paths: their declared columns, and no other.

    The first object says what the columns are, and one that has others is an error that names it. Its own types count,
    which its writer took from the declaration: what an earlier version wrote can still be compared with.
    """
    return f"(SELECT {_declared(table)} FROM read_parquet([{_list(paths)}], {_OPTIONS}{_schema(table)}))"


def read_parquet_with_origin(table: Table, paths: Iterable[str]) -> str:
    """The same with `filename`, the object's path, and `file_row_number`, its rows counted from 0."""
    columns = f"{_declared(table)}, filename, file_row_number"
    return f"(SELECT {columns} FROM read_parquet([{_list(paths)}], {_OPTIONS}{_schema(table)}))"


def row_counts_of(connection: duckdb.DuckDBPyConnection, paths: Iterable[str]) -> dict[str, int]:
    """The rows of each object, as it says itself: nothing of what is in it has to be read."""
    sql = "SELECT file_name, num_rows FROM parquet_file_metadata($paths)"
    return dict(connection.execute(sql, {"paths": [literal_path(path) for path in paths]}).fetchall())


def literal_path(path: str) -> str:
    """The path for where DuckDB takes patterns: it stands for itself, whatever characters it has."""
    if not _PATTERN_CHARACTER.search(path):
        return path
    return _PATTERN_CHARACTER.sub(lambda match: f"[{match[0]}]", path)


def has_literal_path(path: str) -> bool:
    """Whether DuckDB can be told of the path at all: in a pattern it takes each backslash for a separator."""
    return "\\" not in path or not _PATTERN_CHARACTER.search(path)


def quoted(text: object) -> str:
    """The text as what stands between the quotes of an SQL string."""
    return str(text).replace("'", "''")


_OPTIONS = "hive_partitioning = false, union_by_name = false, binary_as_string = false, filename = false"


def _declared(table: Table) -> str:
    names = ", ".join(f"'{quoted(c.name)}'" for c in table.columns)
    return f"COLUMNS(lambda name: name IN ({names}))"


def _schema(table: Table) -> str:
    """The option by which columns that objects of earlier versions lack are NULL. All types are the declared ones."""
    if not any(c.may_be_missing for c in table.columns):
        return ""
    columns = ", ".join(
        f"'{c.name}': {{'name': '{c.name}', 'type': '{c.type}', 'default_value': NULL}}" for c in table.columns
    )
    return f", schema = MAP {{{columns}}}"


def _list(paths: Iterable[str]) -> str:
    return ", ".join(f"'{quoted(literal_path(path))}'" for path in paths)
