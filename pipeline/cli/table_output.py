"""Prints rows for people."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import duckdb
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.report.wording import escape_controls

_GROUPED_FROM = 10_000  # smaller numbers may be years


def print_rows(
    console: Console, cursor: duckdb.DuckDBPyConnection, title: str | None = None, limit: int | None = None
) -> int:
    """Prints a query's rows as a table, or one field per line if too wide; returns the number of printed rows.

    With a limit, the cursor still has the remaining rows.
    """
    names = [escape_controls(column[0]) for column in cursor.description or []]
    rows = [] if not names else cursor.fetchall() if limit is None else cursor.fetchmany(limit)
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max([len(name), *(len(row[i]) for row in cells)]) for i, name in enumerate(names)]
    if sum(widths) + 3 * len(widths) + 1 > console.width and max(map(len, names)) * len(names) > console.width:
        _print_records(console, names, cells, title)
    else:
        numeric = [any(isinstance(row[i], int | float | Decimal) for row in rows) for i in range(len(names))]
        _print_table(console, names, cells, numeric, title)
    return len(rows)


def _print_table(
    console: Console, names: list[str], cells: list[list[str]], numeric: list[bool], title: str | None
) -> None:
    table = Table(title=title, title_justify="left")
    for name, is_number in zip(names, numeric, strict=True):
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
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
