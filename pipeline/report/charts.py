"""The report's charts: the content of each one. `drawing` has their style."""

from __future__ import annotations

import datetime as dt

import altair as alt

from pipeline.report.drawing import (
    INK,
    MUTED,
    NAMES,
    NAMES_WITH_N,
    PERCENT,
    SERIES,
    STRONG,
    Drawing,
    Plot,
    by_strength,
    colours,
    data,
    day_axis,
    day_label,
    days_between,
    draw,
    labels,
    money_axis,
    strength,
)
from pipeline.report.queries import BINS_PER_DECADE, Row
from pipeline.report.wording import money, percent

_OUTCOMES = {"fulfilled": "var(--good)", "failed": "var(--bad)", "pending": "var(--wait)", "expired": MUTED}
_BANDS = {
    "below 0.5\u00d7": "multiple_below_0_5_count",
    "0.5 to 1\u00d7": "multiple_0_5_to_1_count",
    "1 to 2\u00d7": "multiple_1_to_2_count",
    "2 to 5\u00d7": "multiple_2_to_5_count",
    "5 to 20\u00d7": "multiple_5_to_20_count",
    "20\u00d7 and above": "multiple_20_and_above_count",
}
_TYPES_SHOWN = 6
_OTHERS = "other types"
_ALL_TYPES = "all types"
_DURATIONS = {
    1: "1 s",
    10: "10 s",
    60: "1 min",
    600: "10 min",
    3_600: "1 h",
    14_400: "4 h",
    86_400: "1 day",
    864_000: "10 days",
    8_640_000: "100 days",
}


def outcomes_by_day(funnel: list[Row], unfinished_from: dt.date) -> Drawing:
    """Sessions by UTC day of submission and status."""
    rows = [
        {"day": day_label(row["submitted_date"]), "outcome": outcome, "sessions": row[outcome], "order": order}
        | {"strength": strength(row["submitted_date"], unfinished_from)}
        for row in funnel
        for order, outcome in enumerate(_OUTCOMES)
        if row[outcome]
    ]
    days = days_between(row["submitted_date"] for row in funnel)

    def chart(width: int) -> Plot:
        return (
            alt.Chart(data(rows))
            .mark_bar(stroke="var(--page)", strokeWidth=0.4)
            .encode(
                x=day_axis(days, width),
                y=alt.Y("sessions:Q", title="sessions", axis=alt.Axis(tickCount=4, domain=False, ticks=False)),
                color=colours("outcome", _OUTCOMES),
                opacity=by_strength(),
                order="order:O",
            )
        )

    return draw(chart, 240, _OUTCOMES)


def failed_rate_by_day(mature: list[Row]) -> Drawing:
    """Failed over failed plus fulfilled, with its 95 % interval."""
    rows = [
        {"day": day_label(row["submitted_date"])}
        | {bound: row[f"failed_rate{bound}"] for bound in ("_low", "_high")}
        | {"rate": row["failed_rate"]}
        for row in mature
    ]
    days = days_between(row["submitted_date"] for row in mature)

    def chart(width: int) -> Plot:
        y = alt.Axis(labelExpr=PERCENT, tickCount=4, domain=False, ticks=False)
        base = alt.Chart(data(rows)).encode(x=day_axis(days, width))
        interval = base.mark_rule(color=_OUTCOMES["failed"], strokeWidth=3, opacity=0.35, strokeCap="round")
        point = base.mark_point(color=_OUTCOMES["failed"], filled=True, size=40, opacity=1)
        return interval.encode(y=alt.Y("_low:Q", title="failed", axis=y), y2="_high:Q") + point.encode(y="rate:Q")

    return draw(chart, 200)


def latency_by_day(funnel: list[Row]) -> Drawing:
    """Median and 90th percentile of the time to the first fulfilled answer, on a log axis."""
    shown = {"median": 50, "90 % within": 90}
    key = dict(zip(shown, SERIES, strict=False))
    rows = [
        {"day": day_label(row["submitted_date"]), "figure": name, "seconds": max(1.0, seconds)}
        for row in funnel
        for name, percentile in shown.items()
        if (seconds := row[f"latency_p{percentile}_seconds"]) is not None
    ]
    days = days_between(row["submitted_date"] for row in funnel)
    highest = max(row["seconds"] for row in rows)
    top = next((tick for tick in _DURATIONS if tick >= highest), highest)
    ticks = [tick for tick in _DURATIONS if tick <= top]
    names = "{" + ", ".join(f"{tick}: '{name}'" for tick, name in _DURATIONS.items()) + "}"

    def chart(width: int) -> Plot:
        axis = alt.Axis(values=ticks, labelExpr=f"{names}[datum.value]", domain=False, ticks=False)
        scale = alt.Scale(type="log", domain=[1, max(top, 10)], nice=False)
        return (
            alt.Chart(data(rows))
            .mark_line(point=alt.OverlayMarkDef(size=30, opacity=1), strokeWidth=1.5)
            .encode(
                x=day_axis(days, width),
                y=alt.Y("seconds:Q", title="at most", scale=scale, axis=axis),
                color=colours("figure", key),
            )
        )

    return draw(chart, 220, key)


def _edges(bins: list[Row]) -> tuple[list[Row], float, float]:
    rows = [
        {
            "from": 10 ** (row["bin"] / BINS_PER_DECADE),
            "to": 10 ** ((row["bin"] + 1) / BINS_PER_DECADE),
            "pulls": row["pulls"],
            "none": 0,
        }
        for row in bins
    ]
    return rows, rows[0]["from"], rows[-1]["to"]


def buyback_histogram(bins: list[Row], median: float, mean: float) -> Drawing:
    """Quoted pulls by quote, on a log axis, with median and mean."""
    rows, lowest, highest = _edges(bins)
    marks = [
        {"at": median, "label": f"median {money(median)}", "row": 4},
        {"at": mean, "label": f"mean {money(mean)}", "row": 20},
    ]

    def chart(_width: int) -> Plot:
        y = alt.Axis(tickCount=4, domain=False, ticks=False)
        x = money_axis("from:Q", "quoted buyback, log scale", lowest, highest)
        bars = (
            alt.Chart(data(rows))
            .mark_bar(color=STRONG, opacity=0.85, stroke="var(--page)", strokeWidth=1)
            .encode(x=x, x2="to:Q", y=alt.Y("none:Q", title="pulls", axis=y), y2="pulls:Q")
        )
        layers = [bars]
        for mark in marks:
            at = alt.Chart(data([mark])).encode(x="at:Q")
            layers.append(at.mark_rule(strokeDash=[4, 3], color=INK))
            text = at.mark_text(align="left", dx=5, baseline="top", fontWeight="bold")
            layers.append(text.encode(y=alt.value(mark["row"]), text="label:N"))
        return alt.layer(*layers)

    return draw(chart, 250)


def pulls_against_value(bins: list[Row], zero_pulls: int) -> Drawing:
    """Cumulative shares of quoted pulls and of quoted value, by quote, on a log axis.

    A log axis has no zero, so the line of pulls starts at the share of pulls quoted at zero.
    """
    edges, lowest, highest = _edges(bins)
    series = {"share of pulls": "pulls", "share of value": "total_usd"}
    key = dict(zip(series, SERIES, strict=False))
    rows: list[Row] = []
    for name, column in series.items():
        so_far = float(zero_pulls) if column == "pulls" else 0.0
        whole = so_far + sum(row[column] for row in bins)
        rows.append({"quote": lowest, "share": so_far / whole, "series": name})
        for edge, row in zip(edges, bins, strict=True):
            rows.append({"quote": edge["from"], "share": so_far / whole, "series": name})
            so_far += row[column]
            rows.append({"quote": edge["to"], "share": so_far / whole, "series": name})

    def chart(_width: int) -> Plot:
        y = alt.Axis(labelExpr=PERCENT, values=[0, 0.25, 0.5, 0.75, 1], domain=False, ticks=False)
        return (
            alt.Chart(data(rows))
            .mark_line(strokeWidth=2.5)
            .encode(
                x=money_axis("quote:Q", "quoted at this or less, log scale", lowest, highest),
                y=alt.Y("share:Q", title=None, axis=y),
                color=colours("series", key),
            )
        )

    return draw(chart, 240, key)


def quoted_types(types: list[Row]) -> list[Row]:
    """The item types that are drawn by their quotes: at most ten, with quotes above zero."""
    return [row for row in types if row["priced_pull_count"] and (row["buyback_p95_usd"] or 0) > 0][:10]


def quotes_by_type(priced: list[Row]) -> Drawing:
    """Quotes of the `quoted_types`: percentiles 5 to 95, quartiles, median."""
    least = min(float(row["buyback_p5_usd"]) for row in priced) or 0.01
    floor = max(0.0001, least)
    names = [
        f"{label}\nn {row['priced_pull_count']:,}"
        for label, row in zip(labels([row["item_type"] for row in priced], "unknown"), priced, strict=True)
    ]
    columns = {"p5": "buyback_p5_usd", "p25": "buyback_p25_usd", "median": "buyback_median_usd"} | {
        "p75": "buyback_p75_usd",
        "p95": "buyback_p95_usd",
    }
    rows: list[Row] = [
        {"type": name} | {short_name: max(floor, float(row[column])) for short_name, column in columns.items()}
        for name, row in zip(names, priced, strict=True)
    ]
    highest = max(row["p95"] for row in rows)

    def chart(_width: int) -> Plot:
        y = alt.Y("type:N", sort=None, title=None, axis=NAMES_WITH_N)
        base = alt.Chart(data(rows)).encode(y=y)
        title = "quoted buyback, log scale"
        wide = base.mark_rule(strokeWidth=2, color=STRONG, opacity=0.45)
        half = base.mark_bar(size=11, color=STRONG, opacity=0.55)
        middle = base.mark_point(filled=True, size=75, color=INK, opacity=1)
        return (
            wide.encode(x=money_axis("p5:Q", title, floor * 0.8, max(highest * 1.25, floor * 10)), x2="p95:Q")
            + half.encode(x="p25:Q", x2="p75:Q")
            + middle.encode(x="median:Q")
        )

    return draw(chart, 44 + 38 * len(rows))


def types_shown(types: list[Row]) -> dict[str, str]:
    """The chart label of each item type: the types with the most pulls by name, the others under one label."""
    names = [row["item_type"] for row in types]
    *drawn, others = labels([*names[:_TYPES_SHOWN], _OTHERS], "unknown")
    return dict(zip(names, drawn, strict=False)) | dict.fromkeys(names[_TYPES_SHOWN:], others)


def by_day_and_type(values: list[Row], drawn_as: dict[str, str], column: str, unfinished_from: dt.date) -> Drawing:
    """A column of `buyback_values` by UTC day: a row of bars for all item types, and one for each type below it.

    Each row has a scale of its own, since the rarest type would be a line otherwise. Its label has its highest bar.
    """
    names = [_ALL_TYPES, *dict.fromkeys(drawn_as.values())]
    amounts: dict[str, dict[dt.date, float]] = {name: {} for name in names}
    for row in values:
        for name in (_ALL_TYPES, drawn_as[row["item_type"]]):
            of_day = amounts[name]
            of_day[row["pulled_date"]] = of_day.get(row["pulled_date"], 0) + (row[column] or 0)
    words = money if column.endswith("_usd") else "{:,}".format
    peaks = {name: max(of_day.values(), default=0) for name, of_day in amounts.items()}
    rows = [
        {"day": day_label(day), "low": -place, "high": -place + 0.7 * float(amount / (peaks[name] or 1))}
        | {"strength": strength(day, unfinished_from)}
        for place, name in enumerate(names)
        for day, amount in amounts[name].items()
    ]
    titles = [{"low": -place, "label": f"{name}: highest day {words(peaks[name])}"} for place, name in enumerate(names)]
    days = days_between(row["pulled_date"] for row in values)

    def chart(width: int) -> Plot:
        scale = alt.Scale(domain=[1 - len(names), 1], nice=False)
        bars = alt.Chart(data(rows)).mark_bar(color=STRONG)
        labelled = alt.Chart(data(titles)).mark_text(align="left", baseline="middle", x=0, color=MUTED)
        return bars.encode(
            x=day_axis(days, width), y=alt.Y("high:Q", scale=scale, axis=None), y2="low:Q", opacity=by_strength()
        ) + labelled.transform_calculate(y="datum.low + 0.84").encode(y=alt.Y("y:Q", scale=scale), text="label:N")

    return draw(chart, 30 + 62 * len(names))


def _pack_axis() -> alt.Y:
    return alt.Y("pack:N", sort=None, title=None, axis=NAMES_WITH_N)


def _pack_names(packs: list[Row]) -> list[str]:
    names = labels([row["pack_id"] for row in packs], "no pack")
    return [f"{name}\nn {row['quoted_pull_count']:,}" for name, row in zip(names, packs, strict=True)]


def win_rates(packs: list[Row]) -> Drawing:
    """Share of pulls quoted at or above the price per pull, with its 95 % interval, by pack."""
    rows = [
        {"pack": name, "low": row["win_rate_low"], "rate": row["win_rate"], "high": row["win_rate_high"]}
        | {"label": percent(row["win_rate"])}
        for name, row in zip(_pack_names(packs), packs, strict=True)
    ]
    highest = max(row["high"] for row in rows)

    def chart(_width: int) -> Plot:
        base = alt.Chart(data(rows)).encode(y=_pack_axis())
        x = alt.X("low:Q", title="win rate", axis=alt.Axis(labelExpr=PERCENT, tickCount=5))
        interval = base.mark_rule(strokeWidth=5, color=STRONG, opacity=0.35, strokeCap="round")
        return (
            interval.encode(x=x.scale(domain=[0, min(1, highest * 1.05)]), x2="high:Q")
            + base.mark_point(filled=True, size=80, color=STRONG, opacity=1).encode(x="rate:Q")
            + base.mark_text(dy=-12, fontSize=11).encode(x="rate:Q", text="label:N")
        )

    return draw(chart, 50 + 42 * len(rows))


def multiple_bands(packs: list[Row]) -> Drawing:
    """Shares of the quoted pulls by quote over price per pull, by pack."""
    rows = [
        {"pack": name, "band": band, "pulls": row[column], "order": order}
        for name, row in zip(_pack_names(packs), packs, strict=True)
        for order, (band, column) in enumerate(_BANDS.items())
        if row[column]
    ]
    key = {band: f"var(--b{i})" for i, band in enumerate(_BANDS, 1)}

    def chart(_width: int) -> Plot:
        return (
            alt.Chart(data(rows))
            .mark_bar(size=20, stroke="var(--page)", strokeWidth=1)
            .encode(
                y=_pack_axis(),
                x=alt.X(
                    "pulls:Q", stack="normalize", title="share of pulls", axis=alt.Axis(labelExpr=PERCENT, tickCount=4)
                ),
                color=colours("band", key),
                order="order:O",
            )
        )

    return draw(chart, 50 + 36 * len({row["pack"] for row in rows}), key)


def pending_by_age(ageing: list[Row]) -> Drawing:
    """Pending sessions by age."""
    rows = [{"age": row["age_band"], "sessions": row["sessions"], "label": f"{row['sessions']:,}"} for row in ageing]

    def chart(_width: int) -> Plot:
        y = alt.Y("age:N", sort=None, title=None, axis=NAMES)
        highest = max(row["sessions"] for row in rows)
        x = alt.X("sessions:Q", axis=None, scale=alt.Scale(domain=[0, 1.15 * highest], nice=False))
        base = alt.Chart(data(rows)).encode(y=y, x=x)
        bars = base.mark_bar(size=18, color=_OUTCOMES["pending"])
        return bars + base.mark_text(align="left", dx=5).encode(text="label:N")

    return draw(chart, 20 + 32 * len(rows))
