"""Writes the rows of a query as CSV, Parquet or JSON, to a file or to standard output.

The query's connection cannot write. Its rows stream as Arrow batches to a second DuckDB, which writes them in bounded
memory. A file is written under a temporary name and then renamed; a query that fails half-way leaves no output.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb

from pipeline.errors import PipelineError
from pipeline.sources.formulas import NEEDS_ESCAPE, escaped
from pipeline.storage.connection import ROWS_A_BATCH
from pipeline.storage.files import place_of
from pipeline.storage.layout import Layout
from pipeline.storage.spill import temporary_folder

_OPTIONS = {
    "csv": "FORMAT csv, HEADER true",
    "json": "FORMAT json, ARRAY true",
    "parquet": "FORMAT parquet, COMPRESSION zstd",
}
FORMATS = tuple(_OPTIONS)

_FLOATS = {"float", "double"}
# Types that a spreadsheet reads as numbers, times or booleans, never as formulas.
_NEVER_FORMULAS = _FLOATS | {
    *(
        "tinyint",
        "smallint",
        "integer",
        "bigint",
        "hugeint",
        "utinyint",
        "usmallint",
        "uinteger",
        "ubigint",
        "uhugeint",
    ),
    *("decimal", "boolean", "date", "time", "time with time zone", "timestamp", "timestamp with time zone"),
    *("timestamp_s", "timestamp_ms", "timestamp_ns"),
}


class ExportError(PipelineError):
    """The requested output cannot be written. Nothing was written."""


def chosen_format(asked: str | None, output: Path | None) -> str | None:
    """The output format: the requested one, else by the file's suffix; None for a table on screen.

    Raises ExportError if the suffix names no format.
    """
    if asked or output is None:
        return asked
    suffix = output.suffix.removeprefix(".").lower()
    if suffix not in FORMATS:
        raise ExportError(f"{output}: its suffix is not that of a format; use .{', .'.join(FORMATS)}, or give --format")
    return suffix


def export(connection: duckdb.DuckDBPyConnection, sql: str, chosen: str, output: Path | None, data: Layout) -> None:
    """Writes the rows of `sql` to `output`, replacing an existing file, or to standard output.

    Raises ExportError, and duckdb.Error about the query.
    """
    if output is None and chosen == "parquet" and sys.stdout.isatty():
        raise ExportError("Parquet cannot be printed on a terminal: give --output FILE, or redirect it with > or |")
    if output is not None:
        refuse_bad_places(output, data)
    rows = connection.sql(sql)
    if rows is None:
        raise ExportError("the statement returns no rows: give a query such as 'FROM item_types'")
    with temporary_folder() as folder:

        def write(path: Path) -> None:
            write_rows(rows, chosen, path, folder, data.memory_limit)

        if output is None:
            _to_standard_output(folder / "rows", write)
        else:
            write_file(output, write)


def write_rows(rows: duckdb.DuckDBPyRelation, chosen: str, path: Path, spill: Path, memory_limit: str) -> None:
    """Writes the rows to a new file in a format of `FORMATS`; they are spilled to the folder `spill`.

    Raises OSError, and duckdb.Error.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "temp_directory": str(spill),
        "memory_limit": memory_limit,
    }
    with duckdb.connect(config=config) as writer:
        writer.execute("SET TimeZone = 'UTC'")
        quoted = str(path).replace("'", "''")
        writer.register(
            "rows_to_write", rows.query("rows_to_write", _cells(rows, chosen)).to_arrow_reader(ROWS_A_BATCH)
        )
        writer.execute(f"COPY ({_named(rows.columns, chosen)}) TO '{quoted}' ({_OPTIONS[chosen]})")


def _cells(rows: duckdb.DuckDBPyRelation, chosen: str) -> str:
    """The query with cells as the format needs them; columns have their positions as names, since names may repeat."""
    positions = _positions(rows.columns)
    cells = [
        f"{_cell(position, kind.id, chosen)} AS {position}"
        for position, kind in zip(positions, rows.types, strict=True)
    ]
    return f"SELECT {', '.join(cells)} FROM rows_to_write AS r({', '.join(positions)})"


def _named(columns: Sequence[str], chosen: str) -> str:
    """The query that renames the columns from positions to their own names."""
    named = zip(_positions(columns), columns, strict=True)
    return f"SELECT {', '.join(f'{p} AS {_identifier(_header(name, chosen))}' for p, name in named)} FROM rows_to_write"


def _positions(columns: Sequence[str]) -> list[str]:
    return [f"column_{i}" for i in range(len(columns))]


def _cell(column: str, kind: str, chosen: str) -> str:
    if chosen == "csv" and kind not in _NEVER_FORMULAS:
        text = f"{column}::VARCHAR"
        pattern = NEEDS_ESCAPE.replace("'", "''")
        return f"CASE WHEN regexp_matches({text}, '{pattern}') THEN '''' || {text} ELSE {text} END"
    if chosen == "json" and kind in _FLOATS:
        return f"CASE WHEN isfinite({column}) THEN {column} END"  # JSON has no infinity and no NaN
    if chosen == "json" and kind == "timestamp with time zone":
        return f"strftime({column}, '%Y-%m-%dT%H:%M:%S.%fZ')"  # ISO 8601, as `--json` of the other commands
    return column


def _header(name: str, chosen: str) -> str:
    return escaped(name) if chosen == "csv" else name


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def refuse_bad_places(output: Path, data: Layout) -> None:
    """Raises ExportError if the file cannot be in its folder, or would be in the data directory."""
    place = output.absolute()
    if output.is_dir():
        raise ExportError(f"{output} is a folder: name a file in it")
    if not place.parent.is_dir():
        raise ExportError(f"there is no folder {place.parent}: create it first, or choose another file")
    own = (data.root, place_of(data.warehouse), place_of(data.report))
    if any(place.resolve().is_relative_to(path.resolve()) for path in own):
        raise ExportError(f"{output} is in the data directory, where queries must not write: choose another place")


def write_file(output: Path, write: Callable[[Path], object]) -> None:
    """Replaces a file of the user's atomically; `write` makes it at a path beside it. Raises ExportError."""
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(output)
    except (OSError, duckdb.IOException) as error:
        words = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise ExportError(f"{output} could not be written and is unchanged: {words}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _to_standard_output(whole: Path, write: Callable[[Path], object]) -> None:
    write(whole)
    with whole.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.buffer.flush()
