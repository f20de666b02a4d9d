"""Reads records from Parquet of any writer, in bounded memory.

A few compressed kilobytes can expand to gigabytes. Therefore the sizes in the metadata are checked before any data are
read, dictionary-encoded text stays encoded, and values too long for any column are not loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.sources.columns import OnUnknownColumns, Record, RowError, UnreadableFileError, find_columns
from pipeline.sources.kinds import Kind

MAX_ROWS = 100_000_000
MAX_BYTES = 8 << 30  # of the columns to read, uncompressed
MAX_CHUNK_BYTES = 128 << 20  # of one column in one row group; a usual row group of a million ids takes a third of it
MAX_VALUE_BYTES = 16 << 10
_ALLOWED_BYTES = f"at most {MAX_VALUE_BYTES:,} are read"
_ROWS_AT_ONCE = 4_096  # values of the greatest length, which fit into _BYTES_AT_ONCE
_BYTES_AT_ONCE = 64 << 20
_DELTA = re.compile("DELTA_(LENGTH_)?BYTE_ARRAY")


def parquet_rows(file: BinaryIO, kind: Kind, on_unknown_columns: OnUnknownColumns) -> Iterator[Record]:
    """Yields the file's records. Raises UnreadableFileError, and pyarrow's errors about a damaged file."""
    metadata = pq.read_metadata(file)
    schema = metadata.schema.to_arrow_schema()
    found = find_columns(schema.names, kind.columns)
    if kind.columns[0] not in found.places:
        raise UnreadableFileError(f"it has no column {kind.columns[0]}")
    if found.repeated:
        raise UnreadableFileError(f"it repeats {' and '.join(found.repeated)}; name each column once")
    on_unknown_columns(found.unknown)
    chosen = {schema.names[place]: name for name, place in found.places.items()}
    for place, name in ((place, name) for name, place in found.places.items()):
        _check_kind(name, schema.types[place])
    rows_at_once, without_dictionary = _check_size(file, metadata.num_rows, chosen)
    file.seek(0)
    with pq.ParquetFile(file, metadata=metadata, read_dictionary=[*chosen.keys() - without_dictionary]) as parquet:
        number = 0
        for batch in parquet.iter_batches(rows_at_once, columns=list(chosen)):
            names = [chosen[name] for name in batch.schema.names]
            columns = [_values(name, column) for name, column in zip(names, batch.columns, strict=True)]
            for values in zip(*columns, strict=True):
                number += 1
                yield number, dict(zip(names, values, strict=True))


def _check_kind(name: str, kind: pa.DataType) -> None:
    """Raises UnreadableFileError if the declared type of a column is nested or too large."""
    if pa.types.is_nested(kind):
        raise UnreadableFileError(f"its column {name} has several values per row ({kind}); write one value per row")
    if pa.types.is_fixed_size_binary(kind) and kind.byte_width > MAX_VALUE_BYTES:
        raise UnreadableFileError(f"its column {name} has values of {kind.byte_width:,} bytes; {_ALLOWED_BYTES}")


def _check_size(file: BinaryIO, row_count: int, chosen: Mapping[str, str]) -> tuple[int, set[str]]:
    """The number of rows to read at once, and the columns that cannot be read as dictionaries.

    Raises UnreadableFileError if a declared size is over its limit.
    """
    if row_count > MAX_ROWS:
        raise UnreadableFileError(f"it declares {row_count:,} rows; at most {MAX_ROWS:,} are read; split the file")
    total, rows_at_once = 0, _ROWS_AT_ONCE
    without_dictionary = set()
    for path, encodings, size in _declared(file):
        name = chosen.get(path)
        if name is None:
            continue
        total += size
        if not 0 <= size <= MAX_CHUNK_BYTES:
            raise UnreadableFileError(
                f"its column {name} declares {size:,} bytes uncompressed in one row group; at most {MAX_CHUNK_BYTES:,} "
                "are read; write smaller row groups"
            )
        # Delta encodings store only the difference to the previous value, so each value may be as long as all bytes.
        if _DELTA.search(encodings):
            without_dictionary.add(path)
            rows_at_once = max(1, min(rows_at_once, _BYTES_AT_ONCE // max(1, size)))
    if total > MAX_BYTES:
        raise UnreadableFileError(
            f"it declares {total:,} bytes uncompressed; at most {MAX_BYTES:,} are read; split the file"
        )
    return rows_at_once, without_dictionary


def _declared(file: BinaryIO) -> list[tuple[str, str, int]]:
    """Path, encodings and uncompressed size of each column in each row group.

    Read by DuckDB, since damaged metadata make pyarrow abort the process.
    """
    path = Path(f"/dev/fd/{file.fileno()}")
    path.stat()  # raises system errors, which DuckDB would report as a damaged file
    with duckdb.connect(config={"threads": 1}) as connection:
        found = connection.execute(
            "SELECT path_in_schema, encodings, total_uncompressed_size FROM parquet_metadata($path)",
            {"path": str(path)},
        )
        return found.fetchall()


def _values(name: str, column: pa.Array) -> Iterable[Any]:
    """A column's values as Python objects; None for NaN, a RowError for each value that cannot be converted."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        # Parquet stores the time in UTC; its zone is only for display and may be unknown to this machine.
        unit = "us" if kind.unit == "ns" else kind.unit
        column = column.cast(pa.timestamp(unit, kind.tz and "UTC"), safe=False)
    if pa.types.is_dictionary(kind):
        if (pc.max(pc.binary_length(column.dictionary)).as_py() or 0) > MAX_VALUE_BYTES:
            return (_value(name, scalar.value) for scalar in column)
        column = column.dictionary_decode()
    try:
        values = column.to_pylist()
    except (ValueError, OverflowError):
        return (_value(name, scalar) for scalar in column)
    # NaN is pandas' NULL.
    return (None if value != value else value for value in values) if pa.types.is_floating(kind) else values


def _value(name: str, scalar: pa.Scalar | None) -> Any:
    if isinstance(scalar, pa.StringScalar | pa.BinaryScalar) and scalar.is_valid:
        size = scalar.as_buffer().size
        if size > MAX_VALUE_BYTES:
            return RowError(f"{name} has {size:,} bytes; {_ALLOWED_BYTES}")
    try:
        return None if scalar is None else scalar.as_py()
    except (ValueError, OverflowError) as error:
        number = getattr(scalar, "value", None)
        return RowError(f"{name} cannot be read: {error}", number if isinstance(number, int) else None)
