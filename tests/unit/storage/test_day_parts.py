"""The parts into which a day with many rows is cut."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.storage import day_parts
from pipeline.storage.day_parts import Span, day_of, is_cut_further, minute_of, minutes_of, moment_of, parts_of

DAY = "2026-03-01"
START, END = minutes_of(DAY)


@st.composite
def spans(draw):
    first = draw(st.integers(START, END - 1))
    return Span(first, draw(st.integers(first, min(first + 90, END - 1))), draw(st.integers(1, 50_000)))


objects = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.lists(spans(), min_size=1, max_size=3))


@given(objects)
def test_each_minute_with_rows_is_in_one_part_that_names_their_objects(found):
    parts = {minutes_of(part): names for part, names in parts_of(DAY, found).items()}
    for name, of_object in found.items():
        for minute in {bound for span in of_object for bound in (span.first, span.last)}:
            assert [name in names for (since, until), names in parts.items() if since <= minute < until] == [True]


@given(objects)
def test_names_sort_by_time_and_tell_their_minutes(found):
    parts = sorted(parts_of(DAY, found))
    ranges = [minutes_of(part) for part in parts]
    assert ranges == sorted(ranges)
    assert all(until <= since for (_, until), (since, _) in zip(ranges, ranges[1:], strict=False))
    assert {day_of(part) for part in parts} <= {DAY}


@given(objects)
def test_a_part_has_no_more_rows_than_allowed_unless_it_is_a_minute(found):
    for since, until in map(minutes_of, parts_of(DAY, found)):
        rows = sum(span.rows_within(since, until) for of_object in found.values() for span in of_object)
        assert rows <= day_parts.MOST_ROWS + 1e-6 or until - since == 1


@given(objects, objects)
def test_further_objects_only_cut_parts_further(found, more):
    former = parts_of(DAY, found)
    later = parts_of(DAY, found | {f"later-{name}": of_object for name, of_object in more.items()})
    assert all(part in later or is_cut_further(part, later) for part in former)


def test_a_day_with_few_rows_is_one_part():
    assert parts_of(DAY, {"a": [Span(START, START + 5, 10)], "b": [Span(END - 1, END - 1, 10)]}) == {DAY: ["a", "b"]}


def test_a_day_with_rows_of_another_day_is_not_cut():
    assert parts_of(DAY, {"a": [Span(START - 1, END - 1, 10_000_000)]}) == {DAY: ["a"]}


@pytest.mark.parametrize("text", ["2026-03-01T00:00", "2026-03-01T05:15", "2026-03-01T23:59"])
def test_a_moment_sorts_between_the_days(text):
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    assert moment_of(minute_of(moment)) == text.replace(":", "")
    assert DAY < moment_of(minute_of(moment)) < "2026-03-02"
