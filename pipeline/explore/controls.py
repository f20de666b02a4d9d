"""Controls of the page that several of its tables have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pipeline.explore.markup import words

Order = tuple[str, bool]  # a column, and whether its highest values come first


def sort_buttons(
    mo: Any,
    names: Iterable[str],
    table: str,
    orders: Mapping[str, Order],
    set_orders: Callable[[dict[str, Order]], None],
) -> Any:
    """A button for each of our own columns of a table, which sorts by it, and the other way round when it is used again.

    `mo` is marimo; `orders` has the order of each table.
    """
    sorted_by, is_descending = orders.get(table, ("", False))

    def button(name: str) -> Any:
        mark = (
            ""
            if name != sorted_by
            else " \N{BLACK DOWN-POINTING SMALL TRIANGLE}"
            if is_descending
            else (" \N{BLACK UP-POINTING SMALL TRIANGLE}")
        )
        order = (name, not is_descending if name == sorted_by else True)
        return mo.ui.button(label=words(name) + mark, on_change=lambda _: set_orders({**orders, table: order}))

    return mo.ui.dictionary({name: button(name) for name in names})
