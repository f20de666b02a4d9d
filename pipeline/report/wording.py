"""Formats figures and received text for people. Unknown values become a dash, never a zero."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal

UNKNOWN = "\N{EN DASH}"

# Control characters other than tab and line feed, which steer a terminal, and characters for the direction of writing,
# which can make a name look like another.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LARGE: tuple[tuple[int, str], ...] = ((10**12, "trn"), (10**9, "bn"), (10**6, "m"))
_WHOLE_DOLLARS_FROM = 1000
_UNITS: tuple[tuple[int, str], ...] = ((86_400, "days"), (3_600, "h"), (60, "min"), (1, "s"))


def escape_controls(text: str) -> str:
    """Received text with control and direction characters escaped as `\\u…`."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def short(text: str | None, length: int = 80) -> str:
    """Received text on one line, cut to a length; a dash for None."""
    if text is None:
        return UNKNOWN
    line = escape_controls(" ".join(text[: 4 * length].split()))
    return line if len(line) <= length else line[: length - 1] + "\N{HORIZONTAL ELLIPSIS}"


def count(number: int | None) -> str:
    return UNKNOWN if number is None else f"{number:,}"


def counted(number: int, noun: str) -> str:
    """`1 pull`, `2,000 pulls`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def money(dollars: Decimal | float | None) -> str:
    """US dollars: cents below a thousand, whole dollars below a million, then millions with two places."""
    if dollars is None:
        return UNKNOWN
    amount = float(dollars)
    for size, name in _LARGE:
        if abs(amount) >= size:
            return f"${amount / size:,.2f} {name}"
    return f"${amount:,.2f}" if abs(amount) < _WHOLE_DOLLARS_FROM else f"${amount:,.0f}"


def percent(share: float | None, places: int = 1) -> str:
    return UNKNOWN if share is None else f"{100 * share:.{places}f} %"


def multiple(number: float | None) -> str:
    return UNKNOWN if number is None else f"{number:.2f}\N{MULTIPLICATION SIGN}"


def duration(seconds: float | None) -> str:
    """A duration in the largest unit with at least two: `95 min`, `36 h`."""
    if seconds is None:
        return UNKNOWN
    size, name = next((unit for unit in _UNITS if seconds >= 2 * unit[0]), _UNITS[-1])
    amount = seconds / size
    return f"{amount:.0f} {name}" if amount >= 10 else f"{amount:.1f} {name}"


def day(date: dt.date | None) -> str:
    return UNKNOWN if date is None else f"{date:%a} {date.day} {date:%b %Y}"


def moment(time: dt.datetime | None) -> str:
    return UNKNOWN if time is None else f"{day(time.astimezone(dt.UTC).date())}, {time.astimezone(dt.UTC):%H:%M} UTC"
