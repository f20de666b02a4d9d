"""Splits CSV into rows; broken quoting costs only the line that has it.

A quoted value may span lines, so a surplus quote merges all following lines into one row. In that case the first line
alone is rejected. The end of each row in the rest is then computed in one pass from the end of the text; parsing the
rest once per line would take quadratic time.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from pipeline.sources.columns import RowError

_OPEN = "unexpected end of data"  # the csv module's message for a quoted value without an end


def csv_rows(text: str) -> Iterator[tuple[int, list[str] | RowError]]:
    """Parses strictly. Yields each row with the number of its first line, and skips blank rows."""
    yield from rows_of(list(io.StringIO(text, newline="")))


def rows_of(lines: Sequence[str]) -> Iterator[tuple[int, list[str] | RowError]]:
    """The same, for lines with their line ends."""
    reader = csv.reader(lines, strict=True)
    consumed = 0
    try:
        for row in reader:
            number, consumed = consumed + 1, reader.line_num
            if not is_blank(row):
                yield number, row
    except csv.Error:
        yield from _rows_one_by_one(lines, consumed)


def is_blank(row: Sequence[str]) -> bool:
    return not any(field.strip() for field in row)


def _rows_one_by_one(lines: Sequence[str], first: int) -> Iterator[tuple[int, list[str] | RowError]]:
    ends = _ends(lines, first)
    start = first
    while start < len(lines):
        end = ends[start - first]
        try:
            if end is None:
                raise csv.Error(_problem(lines[start]) or _OPEN)
            (row,) = csv.reader(lines[start:end], strict=True)
        except csv.Error as error:
            yield start + 1, RowError(f"the quoting is broken: {error}", lines[start].rstrip("\r\n"))
            end = start + 1
        else:
            if not is_blank(row):
                yield start + 1, row
        start = end


def _ends(lines: Sequence[str], first: int) -> list[int | None]:
    """For each line from `first` on, the end (exclusive) of the row that begins there; None for broken quoting."""
    ends: list[int | None] = []
    quoted_end: int | None = None  # the same, if the line begins within a quoted value
    for number in range(len(lines) - 1, first - 1, -1):
        line = lines[number]
        if '"' not in line:
            ends.append(number + 1)
            continue
        ends.append(_end(_problem(line), number, quoted_end))
        quoted_end = _end(_problem(f'"{line}'), number, quoted_end)
    ends.reverse()
    return ends


def _end(problem: str | None, number: int, of_quoted: int | None) -> int | None:
    return number + 1 if problem is None else of_quoted if problem == _OPEN else None


def _problem(line: str) -> str | None:
    """The csv module's error about a line as a row of its own; None if it is valid."""
    try:
        for _ in csv.reader([line], strict=True):
            pass
    except csv.Error as error:
        return str(error)
    return None
