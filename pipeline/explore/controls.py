"""Parts of the page that several of its tables have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from markupsafe import Markup

from pipeline.explore.markup import words

_UNSORTED, _DESCENDING, _ASCENDING = "\N{UP DOWN ARROW}", "\N{DOWNWARDS ARROW}", "\N{UPWARDS ARROW}"

Order = tuple[str, bool]  # a column, and whether its highest values come first


def sort_buttons(
    mo: Any,
    names: Iterable[str],
    table: str,
    orders: Mapping[str, Order],
    set_orders: Callable[[dict[str, Order]], None],
) -> Any:
    """A button for each of our own columns of a table: it sorts by the column, and pressed again the other way round.

    `mo` is marimo; `orders` has the order of each table.
    """
    sorted_by, is_descending = orders.get(table, ("", False))

    def button(name: str) -> Any:
        mark = _UNSORTED if name != sorted_by else _DESCENDING if is_descending else _ASCENDING
        order = (name, not is_descending if name == sorted_by else True)
        return mo.ui.button(
            label=mark, tooltip=f"Sort by {words(name)}", on_change=lambda _: set_orders({**orders, table: order})
        )

    return mo.ui.dictionary({name: button(name) for name in names})


def csv_button(mo: Any, name: str, content: Callable[[], bytes]) -> Any:
    """A button that downloads the content as `<name>.csv`, which is made when it is pressed. `mo` is marimo."""
    return mo.download(content, filename=f"{name}.csv", mimetype="text/csv", label="CSV")


def panel(mo: Any, heading: Markup, table: Markup, csv: Any, is_static: bool) -> Any:
    """A heading, a table, and below it the button for CSV, which a static page does not have. `mo` is marimo."""
    below = [] if is_static else [mo.hstack([csv], justify="start")]
    return mo.vstack([mo.Html(str(heading)), mo.Html(str(table)), *below])
