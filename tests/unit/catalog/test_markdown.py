"""What was received is shown as it is, whatever it is; pictures are small enough to stand in a text."""

from __future__ import annotations

import re
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.catalog.markdown import INLINE, code, counts_in_words, preview, sparkline

HOSTILE = [
    "](http://evil.example) [click",
    "`` ` ``` <img src=x onerror=alert(1)>",
    "a | b \\| c \\",
    "line\nbreak\r\n| --- |",
    "\u202egnp.exe\u2066\x00\ud800",
    "![x](javascript:alert(1))",
    "x" * 1_000_000,
]


@given(st.text() | st.sampled_from(HOSTILE))
def test_a_code_span_holds_any_text_on_one_line(text):
    shown = code(text)
    assert len(shown) <= 82
    if shown:
        assert shown[0] == shown[-1] == "`"
        assert "`" not in shown[1:-1]
        assert "\\" not in shown
        assert shown.isprintable()


def test_values_are_shown_as_they_are():
    assert code("v1|110586049456|0") == "`v1|110586049456|0`"
    assert code("Pikachu <Holo>") == "`Pikachu <Holo>`"
    assert code(None) == code("") == code(" \n") == ""
    assert code("abcdef", 4) == "`abc…`"


@given(st.lists(st.fixed_dictionaries({name: st.text() | st.none() | st.integers() for name in "abc"}), max_size=5))
def test_a_preview_has_one_cell_for_each_value(rows):
    text = preview(rows)
    assert len(text) < INLINE
    lines = text.split("\n")
    if rows:
        assert len(lines) == 2 + len(rows[0])
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1


def test_a_preview_has_whole_ids_and_cuts_other_values():
    row = {"session_id": "01a20f09-33ac-772c-bd81-544db3e7f365", "detail": "x" * 36}
    text = preview([row, row])
    assert text.count(row["session_id"]) == 2
    assert row["detail"] not in text


def test_a_preview_has_cut_ids_rather_than_too_much_text():
    row = {f"column_{i}_id": "a" * 64 for i in range(20)}
    text = preview([row])
    assert "a" * 64 not in text and "column_19_id" in text
    assert len(text) < INLINE


def test_counts_are_in_words_without_zeros():
    assert counts_in_words({"fulfilled": 1200, "failed": 0, "pending": 3}) == "fulfilled 1,200, pending 3"
    assert counts_in_words({"failed": 0}) == "none"


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_preview_of_wide_rows_of_hostile_text_is_shown_in_place(hostile):
    text = preview([{f"column_{i}": hostile for i in range(25)}] * 5)
    assert len(text) < INLINE
    assert "column_24" in text


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=2000))
def test_a_sparkline_is_a_small_image(values):
    text = sparkline(values, "rows by day")
    assert len(text) < INLINE - 100
    match = re.fullmatch(r"!\[rows by day\]\(data:image/svg\+xml,([^() ]+)\)", text)
    assert match
    (line,) = ElementTree.fromstring(unquote(match[1]))
    places = [tuple(float(n) for n in place.split(",")) for place in line.attrib["points"].split()]
    assert len(places) >= 2
    assert all(0 <= x <= 160 and 0 <= y <= 24 for x, y in places)


def test_a_line_rises_with_its_values_and_none_is_drawn_of_nothing():
    points = re.search(r'points="([^"]+)"', unquote(sparkline([0, 5, 10], "x")))
    assert points and points[1] == "0,23 80,12 160,1"
    assert sparkline([], "x") == ""
