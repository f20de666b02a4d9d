"""Prints rows for people."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal

import duckdb
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.publish.reading import next_rows
from pipeline.report.wording import escape_controls

_GROUPED_FROM = 10_000  # smaller numbers may be years
_WRAPPED_FROM = 36  # the length of a UUID, which stays on one line
_FRAME = 4  # cells of the frame around a single column
_MONEY_PLACES = 2
_PLAIN = re.compile(r"-?[\d,]+(?:\.\d+)?")  # without an exponent


def print_rows(
    console: Console, cursor: duckdb.DuckDBPyConnection, title: str | None = None, limit: int | None = None
) -> int:
    """Prints a query's rows as a table, or one field per line if too wide; returns the number of printed rows.

    Cells longer than a UUID wrap, others do not. With a limit, the cursor still has the remaining rows. Raises
    ValueRangeError and duckdb.Error.
    """
    names = [escape_controls(column[0]) for column in cursor.description or []]
    rows = next_rows(cursor, limit) if names else []
    columns = [_cells([row[i] for row in rows], is_money="_usd" in name) for i, name in enumerate(names)]
    cells = [list(row) for row in zip(*columns, strict=True)]
    widths = [
        min(max(map(cell_len, [name, *column])), max(_WRAPPED_FROM, cell_len(name)))
        for name, column in zip(names, columns, strict=True)
    ]
    if len(names) > 1 and sum(widths) + 3 * len(widths) + 1 > console.width:
        _print_records(console, names, cells, title)
    else:
        numeric = [any(isinstance(row[i], int | float | Decimal) for row in rows) for i in range(len(names))]
        _print_table(console, list(zip(names, numeric, widths, strict=True)), cells, title)
    return len(rows)


def _print_table(
    console: Console, columns: list[tuple[str, bool, int]], cells: list[list[str]], title: str | None
) -> None:
    """Each column has its name, whether it is right-aligned, and its least width."""
    table = Table(title=title, title_justify="left")
    for name, is_number, width in columns:
        table.add_column(
            name,
            justify="right" if is_number else "left",
            overflow="fold",
            min_width=min(width, console.width - _FRAME),
        )
    for row in cells:
        table.add_row(*map(Text, row))
    console.print(table)


def _print_records(console: Console, names: list[str], cells: list[list[str]], title: str | None) -> None:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for row in cells:
        for name, cell in zip(names, row, strict=True):
            table.add_row(Text(name), Text(cell))
        table.add_section()
    console.print(table)


def _cells(values: list[object], is_money: bool) -> list[str]:
    """The cells of a column. Its floats have the same number of places, money at least two."""
    places = max([_places(value) for value in values if isinstance(value, float)], default=0)
    if is_money:
        places = max(places, _MONEY_PLACES)
    return [f"{value:,.{places}f}" if _is_plain(value) else _cell(value) for value in values]


def _places(value: float) -> int:
    return len(_cell(value).partition(".")[2]) if _is_plain(value) else 0


def _is_plain(value: object) -> bool:
    """Whether it is a float that is shown without an exponent."""
    return isinstance(value, float) and _PLAIN.fullmatch(_cell(value)) is not None


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case Decimal():
            return _decimal(value)
        case int():
            return f"{value:,}" if abs(value) >= _GROUPED_FROM else str(value)
        case float():
            return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.2f}"
        case dt.datetime():
            return value.isoformat(sep=" ", timespec="seconds")
        case _:
            return escape_controls(str(value))


def _decimal(value: Decimal) -> str:
    whole, point, places = f"{value:,f}".partition(".")
    return f"{whole}.{places.rstrip('0').ljust(2, '0')}" if point else whole
