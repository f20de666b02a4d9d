"""The page's HTML: tables and figures. Everything received is escaped, and no link is made of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from decimal import Decimal
from importlib.resources import files
from typing import Any

from markupsafe import Markup, escape

from pipeline.explore.rows import ROWS_IN_CSV, Rows
from pipeline.report.wording import UNKNOWN, escape_controls

_LONGEST_CELL = 300  # characters
_LONGEST_WHOLE = 48  # characters that stay on one line without a space
_GROUPED_FROM = 10_000  # smaller numbers may be years
_SHARES = ("_rate", "_share", "_low_of_all", "_high_of_all")


def style() -> Markup:
    """The page's style sheet as an element."""
    return Markup(f"<style>{files(__package__).joinpath('explore.css').read_text(encoding='utf-8')}</style>")  # noqa: S704 - our own file


def table(
    rows: Rows,
    header: Callable[[str], Markup] = lambda name: escape(words(name)),
    first_cells: list[Markup] | None = None,
) -> Markup:
    """The rows as a table; a figure with bounds in other columns has its interval in its cell.

    `header` gives the content of a column's header cell. `first_cells` are one cell before each row's own.
    """
    bounds = _bounds(rows.names)
    hidden = {name for pair in bounds.values() for name in pair}
    shown = [(at, name) for at, name in enumerate(rows.names) if name not in hidden]
    places = {name: at for at, name in enumerate(rows.names)}
    classes = [_class([row[at] for row in rows.rows]) for at in range(len(rows.names))]
    heads = [Markup('<th class="{}">{}</th>').format(classes[at], header(name)) for at, name in shown]
    lines = []
    for i, row in enumerate(rows.rows):
        cells = [
            Markup('<td class="{}">{}</td>').format(
                classes[at], _cell(name, row, at, [places[each] for each in bounds.get(name, ())])
            )
            for at, name in shown
        ]
        before = [Markup("<td>{}</td>").format(first_cells[i])] if first_cells else []
        lines.append(Markup("<tr>{}</tr>").format(Markup("").join(before + cells)))
    return Markup(
        '<div class="rows" tabindex="0"><table><thead><tr>{}{}</tr></thead><tbody>{}</tbody></table></div>'
    ).format(Markup("<th></th>") if first_cells else "", Markup("").join(heads), Markup("").join(lines))


def heading(title: str, note: str, sql: str | None = None) -> Markup:
    """A table's title, how to read it, and the query behind it, folded."""
    query = Markup("<details><summary>SQL</summary><pre>{}</pre></details>").format(sql) if sql else Markup("")
    return Markup('<h3>{}</h3><p class="quiet">{}</p>{}').format(title, note, query)


def refusal(reason: str) -> Markup:
    """Why SQL was not run. DuckDB's words may repeat what was received."""
    return Markup('<p class="refusal">{}</p>').format(escape_controls(reason))


def count_of(rows: Rows) -> Markup:
    """How many rows are shown, and whether there are more."""
    counted = (
        f"the first {len(rows.rows):,} rows; CSV has up to {ROWS_IN_CSV:,}"
        if rows.is_cut
        else f"{len(rows.rows):,} rows"
    )
    return Markup('<p class="quiet">{}</p>').format(counted)


def sortable(buttons: Mapping[str, Any]) -> Callable[[str], Markup]:
    """The header cells of a table whose columns have these buttons."""
    return lambda name: Markup("{} {}").format(words(name), button(buttons[name]))


def button(element: Any) -> Markup:
    """A control of marimo, to stand in a table."""
    return Markup(element.text)  # noqa: S704 - made by marimo, which escapes what we pass


def tiles(rows: Rows) -> Markup:
    """The figures of the selected pulls, each with its n and its interval."""
    if not rows.rows:
        return Markup('<p class="quiet">No pull matches the filters.</p>')
    row = dict(zip(rows.names, rows.rows[0], strict=True))
    quoted = f"n = {row['quoted_pull_count']:,} quoted pulls with a price"
    shown = [
        ("Pulls", f"{row['pull_count']:,}", f"{row['priced_pull_count']:,} with a quote"),
        ("Win rate", *_figure(row, "win_rate"), f"{quoted}, {row['quoted_session_count']:,} sessions"),
        ("Median multiple", *_figure(row, "multiple_median"), quoted),
        ("Mean multiple, each capped at 5", *_figure(row, "multiple_mean_capped_5x"), quoted),
        ("Median quote", *_figure(row, "buyback_median_usd"), f"n = {row['priced_pull_count']:,} quotes"),
        ("Return", worded("return_ratio", row["return_ratio"]), f"{quoted}; no interval, since few pulls decide it"),
    ]
    return Markup('<div class="tiles">{}</div>').format(
        Markup("").join(
            Markup('<div class="tile"><div class="name">{}</div><div class="value">{}</div>{}</div>').format(
                name, value, Markup("").join(Markup('<div class="quiet">{}</div>').format(line) for line in lines)
            )
            for name, value, *lines in shown
        )
    )


def worded(name: str, value: Any) -> str:
    """A cell's text: money with cents, shares in percent, received text on one line without control characters."""
    match value:
        case None:
            return UNKNOWN
        case bool():
            return "yes" if value else "no"
        case Decimal() | float() if "_usd" in name:
            return f"${value:,.2f}"
        case Decimal() | float() if name.endswith(_SHARES) or name.startswith("win_rate"):
            return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"
        case float():
            return f"{value:,.3f}" if abs(value) < _GROUPED_FROM else f"{value:,.0f}"
        case int():
            return f"{value:,}" if abs(value) >= _GROUPED_FROM else str(value)
        case dt.datetime():
            return f"{value:%Y-%m-%d %H:%M:%S}"
        case _:
            text = str(value)
            line = escape_controls(" ".join(text[: 4 * _LONGEST_CELL].split()))
            return line if len(line) <= _LONGEST_CELL else line[: _LONGEST_CELL - 1] + "\N{HORIZONTAL ELLIPSIS}"


def words(name: str) -> str:
    """A column's name for people: with spaces, at which it may wrap."""
    return escape_controls(name.replace("_", " "))


def _figure(row: dict[str, Any], name: str) -> tuple[str, str]:
    low, high = (row[each] for each in _bounds(tuple(row))[name])
    interval = UNKNOWN if low is None else f"{worded(name, low)} to {worded(name, high)}"
    return worded(name, row[name]), "too few sessions for an interval" if low is None else f"95 %: {interval}"


def _bounds(names: tuple[str, ...]) -> dict[str, tuple[str, str]]:
    """The columns with the bounds of other columns: of `x` these are `x_low` and `x_high`, of `x_usd` `x_low_usd`."""
    found = {}
    for name in names:
        stem, unit = (name.removesuffix("_usd"), "_usd") if name.endswith("_usd") else (name, "")
        pair = (f"{stem}_low{unit}", f"{stem}_high{unit}")
        if {*pair} <= {*names}:
            found[name] = pair
    return found


def _cell(name: str, row: tuple[Any, ...], at: int, bounds: list[int]) -> Markup:
    value = escape(worded(name, row[at]))
    if not bounds or row[bounds[0]] is None:
        return value
    low, high = (worded(name, row[bound]) for bound in bounds)
    return Markup('{} <span class="quiet">{} to {}</span>').format(value, low, high)


def _class(column: list[Any]) -> str:
    """How the cells of a column are set: numbers to the right, times and words of the length of an id on one line."""
    known = [value for value in column if value is not None]
    if any(isinstance(value, int | float | Decimal) and not isinstance(value, bool) for value in known):
        return "number"
    is_whole = all(
        isinstance(value, dt.date) or (len(str(value)) <= _LONGEST_WHOLE and " " not in str(value)) for value in known
    )
    return "whole" if is_whole else "text"
