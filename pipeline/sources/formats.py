"""Reads submission files of each format into records, one at a time. `rows` accepts or rejects them.

A record is (row number, mapping of known column to value) or (row number, RowError). The row number
is the line of the file, for Parquet the row, counted from 1. Blank lines are not rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Set
from decimal import Decimal
from pathlib import PurePath
from typing import BinaryIO

from pipeline.sources.columns import (
    SUBMISSION_ID,
    OnUnknownColumns,
    Record,
    RowError,
    UnreadableFileError,
    find_columns,
)
from pipeline.sources.csv_rows import csv_rows, is_blank
from pipeline.sources.formulas import unescaped
from pipeline.sources.kinds import Kind
from pipeline.sources.listing import UnavailableFileError, cannot_be_read
from pipeline.sources.parquet_rows import parquet_rows
from pipeline.storage.objects import first_line

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_SIGNS_OF_CSV = (",", ";", "\t", '"')
_SHOWN = 200  # characters of what cannot be read


def read(file: BinaryIO, name: str, kind: Kind, on_unknown_columns: OnUnknownColumns) -> Generator[Record, None, None]:
    """Yields the file's records, read in the format of the name's suffix. Ignored columns go to `on_unknown_columns`.

    Raises UnreadableFileError if the file is invalid, possibly after some records, and UnavailableFileError if the
    system could not read it, which may pass.
    """
    if not is_supported(name):
        suffix = PurePath(name).suffix or "no suffix"
        raise UnreadableFileError(f"its name ends in {suffix}; use one of {', '.join(SUFFIXES)}")
    chosen = format_of(name)
    if chosen in kind.refused_formats:
        raise UnreadableFileError(kind.refused_formats[chosen])
    try:
        yield from _READERS[chosen](file, kind, on_unknown_columns)
    except (UnreadableFileError, UnavailableFileError):
        raise
    except MemoryError as error:
        raise UnavailableFileError(cannot_be_read(error)) from error
    except OSError as error:
        # Arrow reports a damaged file as an OSError without an errno.
        if error.errno is not None:
            raise UnavailableFileError(cannot_be_read(error)) from error
        raise _unreadable(chosen, error) from error
    except Exception as error:
        # An unforeseen error of one file must not stop the intake of the others.
        raise _unreadable(chosen, error) from error


def is_supported(name: str) -> bool:
    """Whether a file's name ends in a suffix that can be read."""
    return PurePath(name).suffix.lower() in _FORMATS


def format_of(name: str) -> str:
    """The name of the format of the suffix; several suffixes may have the same format."""
    return _FORMATS.get(PurePath(name).suffix.lower(), "nothing")


def id_lines(file: BinaryIO) -> Iterator[tuple[int, str | RowError]]:
    """The lines of a text with one id per line, with their numbers; a first line `session_id` is a header."""
    is_first = True
    for number, line in _lines(file):
        if isinstance(line, RowError):
            yield number, line
        elif line.lower() == "session_id":
            if not is_first:
                yield number, RowError("the header session_id is repeated", line)
        elif any(sign in line for sign in _SIGNS_OF_CSV) or (len(line) > 1 and line[0] == line[-1] == "'"):
            yield (
                number,
                RowError(
                    "the line looks like CSV: rename the file to .csv, or use another format for ids with a comma, "
                    "semicolon, tab or quote",
                    line[:_SHOWN],
                ),
            )
        else:
            yield number, line
        is_first = False


def _unreadable(chosen: str, error: Exception) -> UnreadableFileError:
    return UnreadableFileError(f"it is not readable {_SHOWN_AS[chosen]}: {first_line(error)}")


def _lines(file: BinaryIO) -> Iterator[tuple[int, str | RowError]]:
    for number, raw in enumerate(file, 1):
        if number == 1 and raw[:2] in _UTF_16:
            raise UnreadableFileError("it is UTF-16; save it as UTF-8")
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            yield number, RowError("the line is not valid UTF-8", raw[:_SHOWN].decode("utf-8", "replace"))
            continue
        if line:
            yield number, line


def _txt(file: BinaryIO, kind: Kind, _: OnUnknownColumns) -> Iterator[Record]:
    for number, line in id_lines(file):
        yield number, line if isinstance(line, RowError) else {kind.columns[0]: line}


def _json_lines(file: BinaryIO, kind: Kind, on_unknown_columns: OnUnknownColumns) -> Iterator[Record]:
    known = {*kind.columns, SUBMISSION_ID}
    for number, line in _lines(file):
        if isinstance(line, RowError):
            yield number, line
            continue
        try:
            value = _JSON.decode(line)
        except (ValueError, ArithmeticError, RecursionError) as error:
            yield number, RowError(f"the line is not JSON: {error or type(error).__name__}", line[:_SHOWN])
            continue
        if not isinstance(value, dict):
            yield number, RowError("the line is not a JSON object", line[:_SHOWN])
        elif known.issuperset(value):
            yield number, value
        else:
            found = find_columns(list(value), kind.columns)
            on_unknown_columns(found.unknown)
            if found.repeated:
                yield number, RowError(f"{found.repeated[0]} is repeated", line[:_SHOWN])
            else:
                values = list(value.values())
                yield number, {name: values[place] for name, place in found.places.items()}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


_JSON = json.JSONDecoder(parse_float=Decimal, parse_constant=_refuse_constant)


def _csv(file: BinaryIO, kind: Kind, on_unknown_columns: OnUnknownColumns) -> Iterator[Record]:
    content = file.read()
    if content[:2] in _UTF_16:
        raise UnreadableFileError("it is UTF-16; save it as UTF-8")
    # Invalid bytes become lone surrogates, so that only their rows are rejected.
    rows = csv_rows(content.decode("utf-8-sig", "surrogateescape"))
    header_number, header = next(rows, (0, []))
    if isinstance(header, RowError):
        raise UnreadableFileError(f"its header, line {header_number}, cannot be read: {header}")
    found = find_columns(header, kind.columns)
    required = kind.columns[0]
    if required not in found.places:
        shown = ", ".join(header)[:_SHOWN] or "nothing"
        raise UnreadableFileError(
            f"its header has no column {required} (it has {shown}); add it, and separate the columns by commas"
        )
    if found.repeated:
        raise UnreadableFileError(f"its header repeats {' and '.join(found.repeated)}; name each column once")
    on_unknown_columns(found.unknown)
    names = {name.strip().lower() for name in header} | {*kind.columns, SUBMISSION_ID, ""}
    for number, row in rows:
        if isinstance(row, RowError):
            yield number, row
        elif len(row) > len(header) and not is_blank(row[len(header) :]):
            yield number, RowError(f"the row has {len(row)} fields, the header {len(header)}", ",".join(row)[:_SHOWN])
        elif _is_header(row, required, names):
            yield number, RowError("the header is repeated", ",".join(row)[:_SHOWN])
        else:
            yield number, {name: unescaped(row[place]) for name, place in found.places.items() if place < len(row)}


def _is_header(row: list[str], required: str, names: Set[str]) -> bool:
    """Whether a row repeats the column names in any order, as in concatenated files."""
    if required not in ",".join(row).lower():
        return False
    cells = {cell.strip().lower() for cell in row}
    return required in cells and cells <= names


_FORMATS = {".txt": "txt", ".csv": "csv", ".jsonl": "json_lines", ".ndjson": "json_lines", ".parquet": "parquet"}
_READERS: dict[str, Callable[[BinaryIO, Kind, OnUnknownColumns], Iterator[Record]]] = {
    "txt": _txt,
    "csv": _csv,
    "json_lines": _json_lines,
    "parquet": parquet_rows,
}
_SHOWN_AS = {"txt": "text", "csv": "CSV", "json_lines": "JSON lines", "parquet": "Parquet"}

SUFFIXES = tuple(sorted(_FORMATS))
