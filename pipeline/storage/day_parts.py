"""Cuts a day with many rows into parts by time, so that a run derives only the parts with new rows.

A part is a whole UTC day, such as `2026-01-01`, or a range of its minutes, such as `2026-01-01T0515-0530`. Names sort
by time. A part with more rows than `MOST_ROWS` is cut further, so that the rows that a run derives again have a bound.
The cut follows from the times and row counts of the raw objects alone, and further objects only make it finer. Tables
do not depend on it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

MOST_ROWS = 40_000
_WIDTHS = (1_440, 720, 360, 180, 60, 30, 15, 5, 1)  # minutes; each divides the one before
_DAY = slice(0, 10)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Span(msgspec.Struct, frozen=True, array_like=True):
    """Rows of an object: the minutes of the first and the last, counted from 1970, and their number."""

    first: int
    last: int
    row_count: int

    def rows_within(self, since: int, until: int) -> float:
        """An estimate of the rows in the minutes from `since` up to, but without, `until`."""
        shared = min(self.last + 1, until) - max(self.first, since)
        return self.row_count * max(shared, 0) / (self.last + 1 - self.first)


def day_of(part: str) -> str:
    """The UTC day of a part."""
    return part[_DAY]


def minutes_of(part: str) -> tuple[int, int]:
    """The first minute of a part and the one after its last, counted from 1970."""
    start = _minute(datetime.fromisoformat(day_of(part)).replace(tzinfo=UTC))
    if part == day_of(part):
        return start, start + _WIDTHS[0]
    since, until = part[11:].split("-")
    return start + _of_day(since), start + _of_day(until)


def is_part(name: str) -> bool:
    """Whether a name is that of a part; tables without rows have one object with another name."""
    try:
        minutes_of(name)
    except ValueError:
        return False
    return True


def is_cut_further(part: str, parts: Iterable[str]) -> bool:
    """Whether some of these parts are within a part."""
    others = [minutes_of(other) for other in parts if day_of(other) == day_of(part)]
    if not others:
        return False
    since, until = minutes_of(part)
    return any(since <= start and end <= until for start, end in others)


def moment_of(minute: int) -> str:
    """A minute as text that sorts by time together with the names of days."""
    return f"{_EPOCH + timedelta(minutes=minute):%Y-%m-%dT%H%M}"


def minute_of(moment: datetime) -> int:
    """The minute of a time, counted from 1970."""
    return _minute(moment.astimezone(UTC))


def parts_of(day: str, objects: Mapping[str, Iterable[Span]]) -> dict[str, list[str]]:
    """The parts of a day, each with the names of the objects that may have rows in it.

    A day with rows of another day is not cut.
    """
    since, until = minutes_of(day)
    spans = [(name, span) for name, of_object in objects.items() for span in of_object]
    if any(span.first < since or span.last >= until for _, span in spans):
        return {day: sorted(objects)}
    found = _cut(since, until, spans, 0)
    return {_name(day, since, *minutes): names for minutes, names in found.items()}


def _cut(since: int, until: int, spans: list[tuple[str, Span]], level: int) -> dict[tuple[int, int], list[str]]:
    within = [(name, span) for name, span in spans if span.first < until and span.last >= since]
    if not within:
        return {}
    is_finest = level + 1 == len(_WIDTHS)
    if is_finest or sum(span.rows_within(since, until) for _, span in within) <= MOST_ROWS:
        return {(since, until): sorted({name for name, _ in within})}
    found: dict[tuple[int, int], list[str]] = {}
    for start, end in itertools.pairwise(range(since, until + 1, _WIDTHS[level + 1])):
        found |= _cut(start, end, within, level + 1)
    return found


def _name(day: str, start: int, since: int, until: int) -> str:
    if until - since == _WIDTHS[0]:
        return day
    first, end = since - start, until - start
    return f"{day}T{first // 60:02}{first % 60:02}-{end // 60:02}{end % 60:02}"


def _of_day(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[2:])


def _minute(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(minutes=1)
