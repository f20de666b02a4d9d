"""How the report words figures and names, and the colours that it declares."""

from __future__ import annotations

import re
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from pipeline.report import wording
from pipeline.report.drawing import labels
from tests.support.report_page import NOON

TEMPLATES = Path(wording.__file__).parent / "templates"


def test_names_that_look_the_same_when_cut_stay_apart():
    long = "a very long name of a pack, number "
    assert labels([f"{long}1", f"{long}2", None, "unknown"], "unknown") == [
        *("a very long name of a\u2026", "a very long name of a\u2026 (2)", "unknown", "unknown (2)"),
    ]


def test_every_colour_is_declared_for_light_and_for_dark():
    css = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    light, dark = (set(re.findall(r"(--[\w-]+):", block)) for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL))
    assert light == dark
    drawn = "".join(path.read_text(encoding="utf-8") for path in TEMPLATES.parent.glob("*.py"))
    numbered = {f"--c{i}" for i in range(1, 8)} | {f"--b{i}" for i in range(1, 7)}
    used = set(re.findall(r"var\((--[\w-]+)\)", css + drawn)) | numbered
    assert used <= light
    assert "@media print" in css and "prefers-color-scheme: dark" in css


@pytest.mark.parametrize(
    ("worded", "words"),
    [
        (wording.money(None), "\u2013"),
        (wording.money(Decimal("0")), "$0.00"),
        (wording.money(Decimal("999.994")), "$999.99"),
        (wording.money(Decimal("1234.5")), "$1,234"),
        (wording.money(12_345_678.0), "$12.35 m"),
        (wording.money(Decimal("2500000000")), "$2.50 bn"),
        (wording.percent(None), "\u2013"),
        (wording.percent(0.1234), "12.3 %"),
        (wording.percent(0.5, 0), "50 %"),
        (wording.multiple(1.005), "1.00\u00d7"),
        (wording.duration(None), "\u2013"),
        (wording.duration(0.25), "0.2 s"),
        (wording.duration(119), "119 s"),
        (wording.duration(120), "2.0 min"),
        (wording.duration(7_200), "2.0 h"),
        (wording.duration(timedelta(days=30).total_seconds()), "30 days"),
        (wording.count(1234567), "1,234,567"),
        (wording.counted(1, "pull"), "1 pull"),
        (wording.day(date(2026, 3, 9)), "Mon 9 Mar 2026"),
        (wording.moment(NOON), "Tue 10 Mar 2026, 12:00 UTC"),
        (wording.short(None), "\u2013"),
        (wording.short("  two\n words "), "two words"),
        (wording.short("x" * 100, 10), "xxxxxxxxx\u2026"),
        (wording.escape_controls("a\x1b[2Jb\u202e"), r"a\u001b[2Jb\u202e"),
    ],
)
def test_figures_and_names_are_worded_for_people(worded, words):
    assert worded == words
