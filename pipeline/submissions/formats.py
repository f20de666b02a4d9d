"""Reads submission files of each format into records, one at a time, without judging them.

A record is (row number, mapping of known column to value) or (row number, RowError). The row number
is the line of the file, for Parquet the row, counted from 1. Blank lines are not rows.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import PipelineError

COLUMNS = ("session_id", "initiated_at", "pack_id", "price_usd", "quantity", "user_id")
# Written by `phygitals submit`, so that submitting the same ids again is a new file; carries nothing.
SUBMISSION_ID = "submission_id"

csv.field_size_limit(64 * 1024 * 1024)


class UnreadableFileError(PipelineError):
    """The file as a whole cannot be read. The message is the reason alone; the caller names the file."""


class RowError(PipelineError):
    """One row cannot be accepted. `raw_value` is the text at fault."""

    def __init__(self, reason: str, raw_value: object = None) -> None:
        super().__init__(reason)
        self.raw_value = None if raw_value is None else str(raw_value)


Record = tuple[int, Mapping[str, Any] | RowError]


def read(
    path: Path, on_unknown_columns: Callable[[set[str]], None], columns: Sequence[str] = COLUMNS
) -> Generator[Record, None, None]:
    """Yields the file's records. `on_unknown_columns` is told the names of columns that are ignored.

    Of the `columns`, the first is required.
    Raises UnreadableFileError when the file cannot be read at all, possibly after some records.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UnreadableFileError(f"its name ends in {path.suffix or 'no suffix'}; allowed are {', '.join(SUFFIXES)}")
    yield from reader(path, on_unknown_columns, columns)


def is_supported(path: Path) -> bool:
    """Whether the file's name ends in a suffix that can be read."""
    return path.suffix.lower() in _READERS


def format_of(path: Path) -> str:
    """The name of the format that the suffix stands for; files of one format are read alike."""
    reader = _READERS.get(path.suffix.lower())
    return reader.__name__.strip("_") if reader else path.suffix.lower().strip(".") or "nothing"


def _lines(path: Path) -> Iterator[tuple[int, str | RowError]]:
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if number == 1 and raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise UnreadableFileError("it is UTF-16; save it as UTF-8")
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip("\r\n")
            except UnicodeDecodeError:
                yield number, RowError("the line is not valid UTF-8", raw[:200].decode("utf-8", "replace"))
                continue
            if line.strip():
                yield number, line


def _txt(path: Path, _: Callable[[set[str]], None], columns: Sequence[str]) -> Iterator[Record]:
    for number, line in _lines(path):
        yield number, line if isinstance(line, RowError) else {columns[0]: line}


def _json_lines(path: Path, on_unknown_columns: Callable[[set[str]], None], columns: Sequence[str]) -> Iterator[Record]:
    for number, line in _lines(path):
        if isinstance(line, RowError):
            yield number, line
            continue
        try:
            value = json.loads(line, parse_float=Decimal, parse_constant=_refuse_constant)
        except (ValueError, ArithmeticError, RecursionError) as error:
            yield number, RowError(f"the line is not JSON: {error or type(error).__name__}", line[:200])
            continue
        if not isinstance(value, dict):
            yield number, RowError("the line is not a JSON object", line[:200])
            continue
        on_unknown_columns({printable(name) for name in value} - {*columns, SUBMISSION_ID})
        yield number, value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _csv(path: Path, on_unknown_columns: Callable[[set[str]], None], columns: Sequence[str]) -> Iterator[Record]:
    lines = path.read_bytes()
    if lines[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UnreadableFileError("it is UTF-16; save it as UTF-8")
    # Undecodable bytes become lone surrogates, so that only the rows that hold them are rejected.
    text = lines.decode("utf-8-sig", "surrogateescape")
    rows = _csv_rows(list(io.StringIO(text, newline="")))
    header_number, header = next(rows, (0, []))
    if isinstance(header, RowError):
        raise UnreadableFileError(f"its header, line {header_number}, cannot be read: {header}")
    names = [name.strip() for name in header]
    if columns[0] not in names:
        raise UnreadableFileError(
            f"its header has no column {columns[0]} (it has {', '.join(names)[:200] or 'nothing'})"
        )
    if len(set(names)) < len(names):
        raise UnreadableFileError("its header names a column twice")
    on_unknown_columns({printable(n) for n in names} - {*columns, SUBMISSION_ID})
    for number, row in rows:
        if isinstance(row, RowError):
            yield number, row
        elif len(row) > len(names):
            yield number, RowError(f"the row has {len(row)} fields, the header {len(names)}", ",".join(row))
        else:
            yield number, dict(zip(names, row, strict=False))


def _csv_rows(lines: list[str]) -> Iterator[tuple[int, list[str] | RowError]]:
    """Parses strictly; after a line that breaks the quoting, goes on with the line that follows it."""
    start = 0
    while start < len(lines):
        reader = csv.reader((lines[i] for i in range(start, len(lines))), strict=True)
        consumed = 0
        try:
            for row in reader:
                number, consumed = start + consumed + 1, reader.line_num
                if any(field.strip() for field in row):
                    yield number, row
            return
        except csv.Error as error:
            broken = start + consumed
            yield broken + 1, RowError(f"the quoting is broken: {error}", lines[broken].rstrip("\r\n"))
            start = broken + 1


def _parquet(path: Path, on_unknown_columns: Callable[[set[str]], None], columns: Sequence[str]) -> Iterator[Record]:
    try:
        with pq.ParquetFile(path) as file:
            names = set(file.schema_arrow.names)
            if columns[0] not in names:
                raise UnreadableFileError(f"it has no column {columns[0]}")
            on_unknown_columns({printable(name) for name in names} - {*columns, SUBMISSION_ID})
            batches = file.iter_batches(columns=[c for c in columns if c in names])
            yield from enumerate((_parquet_row(row) for batch in batches for row in _rows(batch)), 1)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnreadableFileError(f"it is not readable Parquet: {str(error).splitlines()[0]}") from error


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, pa.Scalar]]:
    for row in zip(*batch.columns, strict=True):
        yield dict(zip(batch.schema.names, row, strict=True))


def _parquet_row(row: dict[str, pa.Scalar]) -> Mapping[str, Any] | RowError:
    record = {}
    for name, scalar in row.items():
        try:
            value = scalar.as_py()
        except (ValueError, OverflowError) as error:
            return RowError(f"{name} cannot be read: {error}", getattr(scalar, "value", None))
        record[name] = None if value != value else value  # NaN is pandas' NULL
    return record


def printable(text: str) -> str:
    """The text with `?` for what is no character, as names may hold in files and in file systems."""
    return text.encode("utf-8", "replace").decode()


_READERS: dict[str, Callable[[Path, Callable[[set[str]], None], Sequence[str]], Iterator[Record]]] = {
    ".txt": _txt,
    ".csv": _csv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".parquet": _parquet,
}

SUFFIXES = tuple(sorted(_READERS))
