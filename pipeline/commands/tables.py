"""Prints rows for people."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import duckdb
from rich.console import Console
from rich.table import Table
from rich.text import Text


def print_rows(console: Console, cursor: duckdb.DuckDBPyConnection, title: str | None = None) -> int:
    """Prints a query's rows as a table; returns how many there were."""
    names = [column[0] for column in cursor.description or []]
    rows = cursor.fetchall() if names else []
    table = Table(title=title, title_justify="left")
    for i, name in enumerate(names):
        is_number = any(isinstance(row[i], int | float | Decimal) for row in rows)
        table.add_column(name, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)
    return len(rows)


def _cells(row: Sequence[Any]) -> list[Text]:
    return [Text(_cell(value)) for value in row]


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case Decimal():
            return _decimal(value)
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.2f}"
        case dt.datetime():
            return value.isoformat(sep=" ", timespec="seconds")
        case _:
            return str(value)


def _decimal(value: Decimal) -> str:
    whole, point, places = f"{value:,f}".partition(".")
    return f"{whole}.{places.rstrip('0').ljust(2, '0')}" if point else whole
