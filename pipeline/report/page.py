"""Composes the report and writes `report.html` beside the published file, replaced atomically."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
from altair.utils.schemapi import debug_mode
from markupsafe import Markup

from pipeline.report import ReportError, chart_titles, charts, first_screen, sentences, wording
from pipeline.report.comparison import compared, of_period
from pipeline.report.drawing import Drawing
from pipeline.report.edition import edition, mark, with_checksum
from pipeline.report.queries import DAYS_SHOWN, Facts, Row, read_published
from pipeline.storage.errors import DataDirectoryError
from pipeline.storage.files import replace_file
from pipeline.storage.layout import Layout

_STALE_AFTER = dt.timedelta(hours=36)  # after a missed daily run
_BY_FEW = 0.5  # share of the ten top pulls in a pack's value from which they decide its mean

_FILTERS = (wording.count, wording.money, wording.percent, wording.multiple, wording.duration, wording.day)
_SOURCES = {
    "local": "Simulated data: the bundled simulator invented all purchases and prices.",
    "sandbox": "Sandbox data: prices are frozen, no session is ever pending, and times to fulfilment are meaningless.",
    "production": "",
}


def write_report(data: Layout, environment: str, moment: dt.datetime) -> Path:
    """Writes the report from the published file and returns its path.

    Raises PublishError if there is no published file, and ReportError.
    """
    facts = read_published(data, moment)
    with debug_mode(False):  # skips Altair's validation of each chart, which the tests do
        page = render(facts, environment, mark(edition(data, environment, moment)))
    try:
        replace_file(data.report, with_checksum(page))
    except DataDirectoryError as error:
        raise ReportError(f"the tables are published, but not the report: {error}") from error
    return data.report


def render(facts: Facts, environment: str, mark_of_edition: str = "") -> str:
    """The page as HTML. Received text is escaped everywhere."""
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update({worded.__name__: worded for worded in _FILTERS})
    templates.filters.update({"short": wording.short, "moment": wording.moment})
    return templates.get_template("report.html").render(
        facts=facts,
        counted=wording.counted,
        sentences=sentences,
        status=first_screen.status_line(facts),
        is_alarming=first_screen.is_alarming(facts),
        tiles=first_screen.tiles(facts),
        overall=of_period(facts, "overall"),
        yesterday=of_period(facts, "yesterday"),
        compared=compared(facts),
        source=_SOURCES.get(environment, ""),
        mark_of_edition=Markup(mark_of_edition),  # noqa: S704 - our own element
        is_stale=_is_stale(facts),
        are_times_of_polls=_are_times_of_polls(facts),
        days_shown=DAYS_SHOWN,
        by_few=_BY_FEW,
        value_tail=_value_tail(facts.bins, facts.pulls["overall"]["priced_pulls"]),
        mature=_mature(facts),
        pending_price=_sum(row["price_usd"] for row in facts.pending_ageing),
        pending_unpriced=sum(row["unpriced"] for row in facts.pending_ageing),
        unfinished_from=_unfinished_from(facts),
        has_unfinished_day=any(
            date >= _unfinished_from(facts)
            for date in (*(r["pulled_date"] for r in facts.days), *(r["submitted_date"] for r in facts.funnel))
        ),
        **_drawings(facts),
    )


def _drawings(facts: Facts) -> dict[str, Drawing | None]:
    """The charts, titled with their findings, by their names in the template; None if there is nothing to draw."""
    found = _drawings_of_quotes(facts) | _drawings_of_packs(facts) | _drawings_of_sessions(facts)
    return {name: drawn and replace(drawn[0], title=drawn[1]) for name, drawn in found.items()}


_Titled = tuple[Drawing, str] | None


def _drawings_of_quotes(facts: Facts) -> dict[str, _Titled]:
    pulls, unfinished = facts.pulls["overall"], _unfinished_from(facts)
    drawn_as, tail = charts.types_shown(facts.types), _value_tail(facts.bins, pulls["priced_pulls"])
    found: dict[str, _Titled] = dict.fromkeys(
        ("histogram", "value_shares", "type_quotes", "pulls_by_day", "value_by_day")
    )
    if facts.bins and tail:
        mean = float(pulls["buyback_usd"]) / pulls["priced_pulls"]
        histogram = charts.buyback_histogram(facts.bins, float(pulls["median_usd"]), mean)
        found["histogram"] = histogram, chart_titles.of_quotes(pulls)
        shares = charts.pulls_against_value(facts.bins, pulls["zero_pulls"])
        found["value_shares"] = shares, chart_titles.of_value_shares(tail)
    if types := charts.quoted_types(facts.types):
        found["type_quotes"] = charts.quotes_by_type(types), chart_titles.of_types(types)
    for name, column in (("pulls_by_day", "pulls"), ("value_by_day", "total_usd")):
        if any(row[column] for row in facts.days):
            drawing = charts.by_day_and_type(facts.days, drawn_as, column, unfinished)
            found[name] = drawing, chart_titles.of_days(facts.days, column, unfinished)
    return found


def _drawings_of_packs(facts: Facts) -> dict[str, _Titled]:
    quoted = [row for row in facts.packs if row["win_rate"] is not None]
    banded = [row for row in facts.packs if row["quoted_pull_count"]]
    return {
        "win_rates": (charts.win_rates(quoted), chart_titles.of_win_rates(quoted)) if quoted else None,
        "multiple_bands": (charts.multiple_bands(banded), chart_titles.of_multiples(banded)) if banded else None,
    }


def _drawings_of_sessions(facts: Facts) -> dict[str, _Titled]:
    mature, funnel = _mature(facts), facts.funnel
    timed = [row for row in funnel if row["latency_p50_seconds"] is not None]
    found: dict[str, _Titled] = dict.fromkeys(("outcomes", "failed_rates", "latencies", "pending_ages"))
    if funnel:
        found["outcomes"] = charts.outcomes_by_day(funnel, _unfinished_from(facts)), chart_titles.of_outcomes(funnel)
    if mature:
        found["failed_rates"] = charts.failed_rate_by_day(mature), chart_titles.of_failures(mature)
    if timed and not _are_times_of_polls(facts):
        found["latencies"] = charts.latency_by_day(timed), chart_titles.of_latencies(timed)
    if facts.pending_longest and facts.pending_ageing:
        title = chart_titles.of_pending_ages(facts.purchases["overall"]["pending"], first_screen.long_pending(facts))
        found["pending_ages"] = charts.pending_by_age(facts.pending_ageing), title
    return found


def _unfinished_from(facts: Facts) -> dt.date:
    """The UTC day of the newest data, of which more may come, and every later day."""
    known: dt.datetime | None = facts.purchases["overall"]["known_until"]
    return (known or facts.moment).astimezone(dt.UTC).date()


def _is_stale(facts: Facts) -> bool:
    """Whether there are pending sessions and the last request was long ago."""
    overall = facts.purchases["overall"]
    return bool(overall["pending"]) and bool(facts.moment - overall["known_until"] > _STALE_AFTER)


def _are_times_of_polls(facts: Facts) -> bool:
    """Whether most fulfilled sessions were fulfilled at their first poll, so that times measure the poll's delay."""
    overall = facts.purchases["overall"]
    return bool(2 * overall["fulfilled_when_first_asked"] > overall["fulfilled"])


def _mature(facts: Facts) -> list[Row]:
    """The mature days of the funnel with at least one final session."""
    return [row for row in facts.funnel if row["is_mature"] and row["failed_rate"] is not None]


def _value_tail(bins: list[Row], quoted_pulls: int) -> Row | None:
    """The top pulls with at least half of the quoted value: their lowest quote, and their shares of pulls and value.

    `quoted_pulls` includes pulls quoted at zero, which are in no bin.
    """
    value = sum(row["total_usd"] for row in bins)
    pulls_above = value_above = 0
    for row in reversed(bins):
        pulls_above += row["pulls"]
        value_above += row["total_usd"]
        if value_above >= value / 2:
            shares = {"pull_share": pulls_above / quoted_pulls, "value_share": value_above / value}
            return {"from_usd": row["least_usd"]} | shares
    return None


def _sum(amounts: Any) -> Any:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known else None
