"""Draws the report's charts with Vega-Altair as inline SVG without script, in the style sheet's colours.

Each chart is drawn twice, for wide pages and for phones, since text in a scaled-down drawing is illegible. Colours are
CSS variables, so the same drawing serves light and dark pages and paper.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert
from markupsafe import Markup

from pipeline.report.queries import Row
from pipeline.report.wording import short

_VEGALITE = ".".join(alt.VEGALITE_VERSION.split(".")[:2])
_WIDE = 900
_NARROW = 340
_NARROW_BELOW = 500
_LABEL_LENGTH = 22

INK, MUTED, _GRID, STRONG = "var(--ink)", "var(--muted)", "var(--grid)", "var(--c1)"
SERIES = [f"var(--c{i})" for i in range(1, 8)]
_LOG_MONEY = [10.0**power for power in range(-4, 12)]
# Axis labels as Vega expressions.
PERCENT = "format(100 * datum.value, '~g') + ' %'"
DOLLARS = "datum.value ? format(datum.value, '$~s') : '$0'"
COUNT = "format(datum.value, ',~r')"

_CONFIG: dict[str, Any] = {
    "aria": False,  # the page describes each chart in words; a description of each mark would be noise
    # Text is measured while drawing, so these fonts have nearly the same widths on all systems.
    "font": "'Liberation Sans', Arial, Helvetica, Roboto, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED,
        "titleColor": MUTED,
        "titleFontWeight": "normal",
        "gridColor": _GRID,
        "domainColor": _GRID,
        "tickColor": _GRID,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titlePadding": 8,
    },
    "legend": {"disable": True},  # the page has its own key, which wraps at any width
    "text": {"color": INK, "fontSize": 12},
    "rule": {"color": MUTED},
}

Plot = Any  # Altair has several types of charts, depending on their layers
_ROW_NAMES: dict[str, Any] = {"domain": False, "ticks": False, "labelColor": INK, "labelPadding": 8}
NAMES = alt.Axis(**_ROW_NAMES)
# Two lines, the name and its n, and therefore half a line higher.
NAMES_WITH_N = alt.Axis(**_ROW_NAMES, labelExpr="split(datum.label, '\\n')", labelOffset=-6)


@dataclass(frozen=True)
class Drawing:
    """One chart as SVG, for wide pages and for phones, with the colours of its series by name."""

    wide: Markup
    narrow: Markup
    key: dict[str, str]
    title: str = ""  # the chart's finding


def draw(chart: Callable[[int], Plot], height: int, key: dict[str, str] | None = None) -> Drawing:
    wide, narrow = (_svg(chart(width).properties(width=width, height=height), width) for width in (_WIDE, _NARROW))
    return Drawing(wide, narrow, key or {})


def warm_up() -> None:
    """Starts the SVG renderer, which takes as long as drawing thirty charts."""
    draw(lambda _width: alt.Chart(data([{"x": 0}])).mark_point().encode(alt.X("x:Q")), 10)


def _svg(chart: Plot, width: int) -> Markup:
    axis = _CONFIG["axis"] | {"labelLimit": 120 if width < _NARROW_BELOW else 190}
    described = chart.properties(
        background="transparent", padding=2, autosize=alt.AutoSizeParams(type="fit", contains="padding")
    ).configure(**_CONFIG | {"axis": axis})
    # A test holds the charts to Vega-Lite's schema. Doing so here would double the time.
    specification = described.to_dict(validate=False)
    # Vega escapes all text that it draws; a test feeds it markup.
    return Markup(vl_convert.vegalite_to_svg(specification, vl_version=_VEGALITE))  # noqa: S704


def colours(field: str, key: dict[str, str]) -> alt.Color:
    """The colour of a mark by the name in a field."""
    return alt.Color(f"{field}:N", scale=alt.Scale(domain=list(key), range=list(key.values())))


def data(rows: Iterable[Row]) -> alt.InlineData:
    return alt.InlineData(values=list(rows))


def labels(names: Sequence[str | None], missing: str) -> list[str]:
    """Short and distinct labels of received names."""
    made: list[str] = []
    for name in names:
        label = wanted = missing if name is None else short(name, _LABEL_LENGTH)
        times = 1
        while label in made:
            times += 1
            label = f"{wanted} ({times})"
        made.append(label)
    return made


def days_between(dates: Iterable[dt.date]) -> list[str]:
    """The labels of all days from the first to the last; days without rows stay empty."""
    known = sorted(dates)
    return [day_label(known[0] + dt.timedelta(days=i)) for i in range((known[-1] - known[0]).days + 1)]


def day_label(date: dt.date) -> str:
    return f"{date.day} {date:%b}"


def strength(date: dt.date, unfinished_from: dt.date) -> float:
    """The opacity of a day's marks: a day that is not over is lighter."""
    return 1.0 if date < unfinished_from else 0.45


def by_strength() -> alt.Opacity:
    """The opacity of a mark by its field `strength`."""
    return alt.Opacity("strength:Q", scale=None)


def day_axis(days: list[str], width: int) -> alt.X:
    step = -(-len(days) // (4 if width < _NARROW_BELOW else 10))
    axis = alt.Axis(values=days[::-1][::step], labelAngle=0, grid=False, ticks=False, labelPadding=6)
    scale = alt.Scale(domain=days, paddingInner=0.08, paddingOuter=0.04)
    return alt.X("day:O", scale=scale, axis=axis, title=None)


def money_axis(field: str, title: str | None, lowest: float, highest: float) -> alt.X:
    values = [value for value in _LOG_MONEY if lowest <= value <= highest]
    axis = alt.Axis(values=values, format="$~s" if lowest >= 1 else "$~g", tickSize=4)
    return alt.X(field, scale=alt.Scale(type="log", domain=[lowest, highest], nice=False), axis=axis, title=title)
