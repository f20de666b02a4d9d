"""What the page lists: its heading, the pulls page by page, and the answers to questions."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import duckdb
from markupsafe import Markup

from pipeline.explore.controls import Order
from pipeline.explore.images import Pictured, safe_link
from pipeline.explore.markup import worded
from pipeline.explore.rows import ROWS_IN_CSV, Rows, as_csv, fetched
from pipeline.explore.selection import Selection
from pipeline.sources.formulas import escaped
from pipeline.storage.window import Window

ROWS_A_PAGE = 25
ROWS_SHOWN = 1000
_COLUMNS = (
    *("pulled_at", "name", "buyback_price_usd", "multiple", "pack_id", "item_type", "grader", "grade", "category"),
    *("set_name", "year_number", "print_run", "user_id", "session_id", "pull_number"),
)


@dataclass(frozen=True)
class Page:
    """One page of the selected pulls; `links` has the image link of each that may be loaded, else None."""

    rows: Rows
    links: list[str | None]
    note: str

    def pictured(self, i: int) -> Pictured:
        """The image of a row that was asked for."""
        row = dict(zip(self.rows.names, self.rows.rows[i], strict=True))
        return Pictured(row["name"], f"{row['session_id']}, pull {row['pull_number']}", self.links[i])


def heading(cursor: duckdb.DuckDBPyConnection, environment: str) -> Markup:
    """The page's first lines: environment, time of publication and window of days."""
    ((published_at,),) = cursor.execute("SELECT published_at FROM publication").fetchall()
    window = Window.of_file(cursor)
    days = f", days from {window.first_day} on" if window.first_day else ""
    return Markup(
        '<div class="explore-head"><h1>Pulls and packs</h1><p>Environment {}, published {} UTC{}</p></div>'
    ).format(environment, worded("", published_at), days)


def pulls(cursor: duckdb.DuckDBPyConnection, selection: Selection, order: Order, page: int) -> Page:
    """A page of the selected pulls, from 1, in an order over all of them. Raises duckdb.Error."""
    condition, parameters = selection.condition()
    counted = f"SELECT count(*) FROM explored.pulls WHERE {condition}"
    ((count,),) = cursor.execute(counted, parameters or None).fetchall()
    pages = max(1, -(-count // ROWS_A_PAGE))
    page = min(page, pages)
    sql = f"{_pulls(condition, (*_COLUMNS, 'image_url'), order)} LIMIT {ROWS_A_PAGE} OFFSET {(page - 1) * ROWS_A_PAGE}"
    found = fetched(cursor.execute(sql, parameters or None))
    rows = Rows(found.names[:-1], [row[:-1] for row in found.rows])
    return Page(rows, [safe_link(row[-1]) for row in found.rows], f"{count:,} pulls, page {page:,} of {pages:,}")


def pulls_as_csv(cursor: duckdb.DuckDBPyConnection, selection: Selection, order: Order, memory_limit: str) -> bytes:
    """The selected pulls in that order, `ROWS_IN_CSV` at most. Raises duckdb.Error."""
    condition, parameters = selection.condition()
    sql = f"{_pulls(condition, (*_COLUMNS, 'item_id', 'image_url'), order)} LIMIT {ROWS_IN_CSV}"
    return as_csv(cursor, sql, parameters, memory_limit)


def rows_as_csv(rows: Rows) -> bytes:
    """Rows that are shown, as CSV; text that a spreadsheet would run as a formula gets a leading apostrophe."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(rows.names)
    writer.writerows([escaped(cell) if isinstance(cell, str) else cell for cell in row] for row in rows.rows)
    return written.getvalue().encode()


def answer(cursor: duckdb.DuckDBPyConnection, sql: str) -> Rows:
    """The first `ROWS_SHOWN` rows of a query of ours. Raises duckdb.Error."""
    return fetched(cursor.execute(sql), ROWS_SHOWN)


def _pulls(condition: str, columns: tuple[str, ...], order: Order) -> str:
    column, is_descending = order
    if column not in columns:
        raise ValueError(f"{column} is no column of the pulls")
    direction = "DESC" if is_descending else "ASC"
    return (
        f"SELECT {', '.join(columns)} FROM explored.pulls WHERE {condition} "
        f"ORDER BY {column} {direction} NULLS LAST, session_number, pull_number"
    )
