"""Markdown for people: received text shown literally, small tables and sparklines.

Received text is untrusted. A code span shows it without interpretation, even of addresses as links.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from urllib.parse import quote

INLINE = 1000  # characters; Dagster's UI shows shorter Markdown inline, longer behind a link
_IN_VIEW = 28  # characters of values that fit beside a column's name in the UI without scrolling
_LEAST_WIDTH = 8
_ID_WIDTH = 64  # characters of an id, which is of no use if it is cut
_POINTS = 40
_WIDTH, _HEIGHT = 160, 24  # pixels
_COLOUR = "#4f43dd"
_SIGNS = str.maketrans({"`": "'", "\\": "∖"})  # characters that could end a code span or escape a cell's border


def code(value: object, width: int = 80) -> str:
    """A value in a one-line code span, cut to `width` characters. Empty for None and for blank text."""
    if value is None:
        return ""
    # Cut first, since a received text may be as long as a whole answer.
    shown = "".join("\ufffd" if _is_unseen(sign) else sign for sign in " ".join(str(value)[: 4 * width].split()))
    if len(shown) > width:
        shown = shown[: width - 1] + "…"
    return f"`{shown.translate(_SIGNS)}`" if shown else ""


def _is_unseen(sign: str) -> bool:
    """Whether the character is invisible: a control character, a direction mark, a lone surrogate."""
    return unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Co", "Cn")


def preview(rows: Sequence[Mapping[str, object]]) -> str:
    """The rows side by side, one line per column, limited in number and width to what Dagster shows inline.

    Ids are whole, at the cost of rows and of other values, unless not even one row then fits.
    """
    if not rows:
        return "no rows"
    for id_width in (_ID_WIDTH, 0):
        for count in range(len(rows), 0, -1):
            for width in (_IN_VIEW // count, _LEAST_WIDTH):
                if len(text := _side_by_side(rows[:count], width, id_width)) < INLINE:
                    return text
    return _side_by_side(rows[:1], _LEAST_WIDTH, 0)


def counts_in_words(counts: Mapping[str, int]) -> str:
    """`fulfilled 1,200, failed 3`, without zeros. The names must not be received text."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items() if count) or "none"


def _side_by_side(rows: Sequence[Mapping[str, object]], width: int, id_width: int) -> str:
    lines = ["|column|" + "".join(f"row {number}|" for number in range(1, len(rows) + 1)), "|-|" + "-|" * len(rows)]
    for name in rows[0]:
        shown = max(width, id_width) if name.endswith("_id") else width
        cells = "".join(code(row[name], shown).replace("|", r"\|") + "|" for row in rows)
        lines.append(f"|{name}|{cells}")
    return "\n".join(lines)


def sparkline(values: Sequence[float], title: str) -> str:
    """A line chart of the values, from zero up, as an embedded image; empty without values.

    If there are more values than points, neighbours are added up. The title must not be received text.
    """
    if not values:
        return ""
    per_point = -(-len(values) // _POINTS)
    points = [sum(values[start : start + per_point]) for start in range(0, len(values), per_point)]
    top = max(points) or 1
    step = _WIDTH / max(len(points) - 1, 1)
    places = " ".join(
        f"{i * step:.0f},{_HEIGHT - 1 - (_HEIGHT - 2) * point / top:.0f}" for i, point in enumerate(points)
    )
    if len(points) == 1:
        places += f" {_WIDTH},{places.split(',')[1]}"
    image = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}">'
        f'<polyline points="{places}" fill="none" stroke="{_COLOUR}" stroke-width="1.5"/></svg>'
    )
    return f"![{title}](data:image/svg+xml,{quote(image, safe='/:=,')})"
