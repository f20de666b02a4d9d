"""The first screen of the report: the status in one line, and four tiles with their trend."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipeline.report.queries import LONG_PENDING, Facts, Row
from pipeline.report.wording import UNKNOWN, count, duration, moment, money, percent

_SESSIONS_FOR_AN_INTERVAL = 30
_NORMAL_95 = 1.96
_NAMES = {
    "purchases": "purchases",
    "failed_rate": "the failed rate",
    "win_rate": "the win rate",
    "quoted_value": "the quoted value",
}
_WIDTH, _HEIGHT, _MARGIN = 120.0, 28.0, 2.0  # of a sparkline


@dataclass(frozen=True)
class Tile:
    """A figure, its change against the week before, and a sparkline of 14 days; `level` is empty unless it warns."""

    label: str
    value: str
    note: str
    change: str
    sparkline: Markup
    level: str = ""


def status_line(facts: Facts) -> str:
    """What is expired and pending, when the newest answer came, and whether yesterday was unusual."""
    overall = facts.purchases["overall"]
    parts = [f"{count(overall['expired'])} expired"] if overall["expired"] else []
    pending = f"{count(overall['pending'])} pending" if overall["pending"] else "none pending"
    age = _oldest_age(facts)
    parts.append(pending + (f", the oldest {duration(age)}" if age is not None else ""))
    return f"{', '.join(parts)}; {_newest_answer(facts)}; {_yesterday(facts.signals)}."


def is_alarming(facts: Facts) -> bool:
    """Whether a session is pending for over a day, or a figure of yesterday is unusual."""
    return _is_long(_oldest_age(facts)) or any(row["is_unusual"] for row in facts.signals)


def long_pending(facts: Facts) -> int:
    """The sessions that are pending for over a day."""
    return int(facts.pending_longest[0]["long_pending_count"]) if facts.pending_longest else 0


def tiles(facts: Facts) -> list[Tile]:
    """Purchases, return and median quote of the last seven completed days, and the sessions that are pending now."""
    week, before = facts.weeks
    return [
        Tile(
            "Purchases, last 7 days",
            count(week["purchases"]),
            "",
            _relative(week["purchases"], before["purchases"]),
            _sparkline(facts.trend, "purchases"),
        ),
        Tile(
            "Return on quoted pulls, last 7 days",
            percent(week["return_ratio"]),
            _interval(week),
            _points(week["return_ratio"], before["return_ratio"]),
            _sparkline(facts.trend, "return_ratio"),
        ),
        Tile(
            "Median quote, last 7 days",
            money(week["median_usd"]),
            "",
            _relative(week["median_usd"], before["median_usd"]),
            _sparkline(facts.trend, "median_usd"),
        ),
        _pending_tile(facts),
    ]


def _pending_tile(facts: Facts) -> Tile:
    pending, age = facts.purchases["overall"]["pending"], _oldest_age(facts)
    former = facts.trend[-7]["pending"]
    difference = pending - former
    change = (
        f"{difference:+,} against a week before".replace("-", "\N{MINUS SIGN}")
        if difference
        else "as many as a week before"
    )
    return Tile(
        "Pending now",
        count(pending),
        f"the oldest {duration(age)}{': ask Phygitals' if _is_long(age) else ''}" if age is not None else "",
        change,
        _sparkline(facts.trend, "pending", pending),
        "alarm" if _is_long(age) else "waits" if pending else "",
    )


def _oldest_age(facts: Facts) -> float | None:
    return float(facts.pending_longest[0]["age_seconds"]) if facts.pending_longest else None


def _is_long(age: float | None) -> bool:
    return age is not None and age > LONG_PENDING


def _newest_answer(facts: Facts) -> str:
    newest = facts.purchases["overall"]["newest_answer_at"]
    if newest is None:
        return "no answer yet"
    time, today = newest.astimezone(dt.UTC), facts.moment.astimezone(dt.UTC).date()
    return f"newest answer {time:%H:%M} UTC" if time.date() == today else f"newest answer {moment(newest)}"


def _yesterday(signals: list[Row]) -> str:
    unusual = [row for row in signals if row["is_unusual"]]
    telling = [row for row in signals if row["is_telling"]]
    if unusual:
        words = [f"{_NAMES[row['signal']]} {'high' if (row['z'] or 0) > 0 else 'low'}" for row in unusual]
        return f"unusual yesterday: {_listed(words)}"
    if not signals:
        return "yesterday is not judged yet"
    if not telling:
        return "too little data to judge yesterday"
    if len(telling) == len(_NAMES):
        return "nothing unusual yesterday"
    return f"nothing unusual yesterday in {_listed([_NAMES[row['signal']] for row in telling])}"


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _interval(week: Row) -> str:
    if week["return_ratio"] is None:
        return "no pull has a quote and a price"
    if week["session_count"] < _SESSIONS_FOR_AN_INTERVAL:
        return f"fewer than {_SESSIONS_FOR_AN_INTERVAL} sessions: no interval"
    centre, half = week["return_ratio"], _NORMAL_95 * week["return_error"]
    return f"95 % interval {percent(max(0.0, centre - half), 0)} to {percent(centre + half, 0)}"


def _relative(value: object, former: object) -> str:
    return _changed(value, former, lambda new, old: f"{100 * (new / old - 1):+.1f} %" if old else UNKNOWN)


def _points(value: object, former: object) -> str:
    return _changed(value, former, lambda new, old: f"{100 * (new - old):+.1f} points")


def _changed(value: object, former: object, words: Callable[[float, float], str]) -> str:
    if value is None or not former:
        return "nothing to compare in the week before"
    change = words(float(str(value)), float(str(former))).replace("-", "\N{MINUS SIGN}")
    return f"{change} against the week before"


def _sparkline(trend: list[Row], name: str, now: int | None = None) -> Markup:
    """A line over the days and to the value now, with gaps where a value is unknown. Its height is from zero."""
    values = [None if row[name] is None else float(row[name]) for row in trend]
    if now is not None:
        values.append(float(now))
    highest = max((value for value in values if value is not None), default=0.0)
    if not highest or math.isinf(highest):
        return Markup("")
    step = (_WIDTH - 2 * _MARGIN) / (len(values) - 1)
    path, is_down = "", False
    for i, value in enumerate(values):
        if value is not None:
            height = _HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * value / highest
            path += f"{'L' if is_down else 'M'}{_MARGIN + i * step:.1f} {height:.1f}"
            if not is_down:
                path += "h.1"  # a day between two gaps is a dot
        is_down = value is not None
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" preserveAspectRatio="none" aria-hidden="true"><path d="{}"/></svg>'
    ).format(f"{_WIDTH:g}", f"{_HEIGHT:g}", path)
