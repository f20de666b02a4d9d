"""Takes CSV apart into rows, so that a line that breaks the quoting costs itself alone.

A quoted value may span lines, so one quote too many makes a row of all that follows. Such a row is given up after its
first line. Where each row would end is then worked out once for the whole rest, from its end: to try each line in turn
would go through the rest as often as it has lines.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from pipeline.sources.columns import RowError

_OPEN = "unexpected end of data"  # what the csv module says where a quoted value does not end


def csv_rows(text: str) -> Iterator[tuple[int, list[str] | RowError]]:
    """Parses strictly. Yields the number of the line on which each row begins, with the row; blank rows are none."""
    yield from rows_of(list(io.StringIO(text, newline="")))


def rows_of(lines: Sequence[str]) -> Iterator[tuple[int, list[str] | RowError]]:
    """The same of lines with their ends."""
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
    """For each line from `first` on, the line behind the row that begins on it; None where it breaks the quoting."""
    ends: list[int | None] = []
    quoted_end: int | None = None  # the same for a line that begins within a quoted value
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
    """What is wrong with a line if it is to be a row of its own."""
    try:
        for _ in csv.reader([line], strict=True):
            pass
    except csv.Error as error:
        return str(error)
    return None
