"""The first screen of the report: each statement follows from the data, and other data change it."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from pipeline.publish.warehouse import open_warehouse
from pipeline.report.first_screen import Tile, is_alarming, status_line, tiles
from pipeline.report.page import render
from pipeline.report.queries import Facts, read

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
NAMES = ("purchases", "failed_rate", "win_rate", "quoted_value")


def facts_of(path: Path, moment: datetime = NOON) -> Facts:
    with open_warehouse(path) as connection:
        return read(connection, moment)


def purchase(status: str, submitted: str, polled: str | None = None, resolved: str | None = None) -> str:
    polled, resolved = (f"TIMESTAMPTZ '{t}+00'" if t else "NULL::TIMESTAMPTZ" for t in (polled, resolved))
    return (
        f"SELECT '{status} {submitted}' AS session_id, '{status}' AS status, "
        f"TIMESTAMPTZ '{submitted}+00' AS submitted_at, {polled} AS last_polled_at, "
        f"{resolved} AS resolved_at, 1 AS poll_count"
    )


def signal(name: str, z: float = 0, is_unusual: bool = False, is_telling: bool = True, day: str = "2026-03-09") -> str:
    return (
        f"SELECT DATE '{day}' AS signal_date, '{name}' AS signal, {z}::DOUBLE AS z, {is_unusual} AS is_unusual, "
        f"{is_telling} AS is_telling, 'words' AS sentence"
    )


def all_of(*rows: str) -> str:
    return " UNION ALL BY NAME ".join(rows)


def tile(facts: Facts, label: str) -> Tile:
    (found,) = [each for each in tiles(facts) if each.label.startswith(label)]
    return found


PENDING_FOR_DAYS = purchase("pending", "2026-03-07 12:00:00", "2026-03-10 11:23:00")
EXPIRED = purchase("expired", "2026-01-01 00:00:00", "2026-02-01 00:00:00")
FINAL = purchase("failed", "2026-03-09 00:00:00", "2026-03-09 15:05:00", "2026-03-09 15:05:00")


@pytest.mark.parametrize(
    ("purchases", "told"),
    [
        ([EXPIRED, PENDING_FOR_DAYS], "1 expired, 1 pending, the oldest 3.0 days; newest answer 11:23 UTC; "),
        ([EXPIRED, FINAL], "1 expired, none pending; newest answer Mon 9 Mar 2026, 15:05 UTC; "),
        ([purchase("pending", "2026-03-10 11:30:00")], "1 pending, the oldest 30 min; no answer yet; "),
    ],
)
def test_the_status_line_tells_what_is_expired_pending_and_answered(published, purchases, told):
    facts = facts_of(published(purchases=all_of(*purchases)))
    assert status_line(facts) == f"{told}yesterday is not judged yet."
    assert told in render(facts, "production")


@pytest.mark.parametrize(
    ("signals", "told", "alarms"),
    [
        ([signal(name) for name in NAMES], "nothing unusual yesterday.", False),
        (
            [signal("purchases", 4.2, True), signal("failed_rate"), signal("win_rate", -3.5, True)],
            "unusual yesterday: purchases high and the win rate low.",
            True,
        ),
        (
            [signal("purchases"), signal("win_rate"), signal("failed_rate", is_telling=False)],
            "nothing unusual yesterday in purchases and the win rate.",
            False,
        ),
        ([signal(name, is_telling=False) for name in NAMES], "too little data to judge yesterday.", False),
        ([signal("purchases", 9, True, day="2026-03-08")], "yesterday is not judged yet.", False),
    ],
)
def test_the_status_line_tells_what_was_unusual_yesterday(published, signals, told, alarms):
    facts = facts_of(published(purchases=FINAL, daily_signals=all_of(*signals)))
    assert status_line(facts).split("; ")[2] == told
    assert is_alarming(facts) is alarms
    assert ('<p class="status alarm">' in render(facts, "production")) is alarms


@pytest.mark.parametrize(
    ("purchases", "level", "note"),
    [
        ([FINAL], "", ""),
        ([FINAL, purchase("pending", "2026-03-10 10:00:00")], "waits", "the oldest 2.0 h"),
        ([FINAL, PENDING_FOR_DAYS], "alarm", "the oldest 3.0 days: ask Phygitals"),
    ],
)
def test_pending_sessions_look_as_serious_as_they_are(published, purchases, level, note):
    facts = facts_of(published(purchases=all_of(*purchases)))
    shown = tile(facts, "Pending")
    assert (shown.value, shown.level, shown.note) == (str(len(purchases) - 1), level, note)
    assert is_alarming(facts) is (level == "alarm")
    assert f'<div class="tile {level}"><span>Pending now' in render(facts, "production")


def test_pending_is_compared_with_what_was_pending_a_week_before(published):
    rows = [
        PENDING_FOR_DAYS,
        purchase("failed", "2026-03-01 00:00:00", resolved="2026-03-03 23:59:59"),  # final by then
        purchase("failed", "2026-03-01 01:00:00", resolved="2026-03-04 00:00:00"),
        purchase("failed", "2026-03-03 02:00:00", resolved="2026-03-09 00:00:00"),
        purchase("expired", "2026-02-01 03:00:00", "2026-03-05 00:00:00"),
        purchase("expired", "2026-02-01 04:00:00", "2026-03-01 00:00:00"),
        purchase("failed", "2026-03-04 00:00:01", resolved="2026-03-09 00:00:00"),  # submitted later
    ]
    facts = facts_of(published(purchases=all_of(*rows)))
    assert [row["day"] for row in facts.trend][::13] == [date(2026, 2, 24), date(2026, 3, 9)]
    assert facts.trend[-7]["day"] == date(2026, 3, 3)
    assert facts.trend[-7]["pending"] == 3
    assert tile(facts, "Pending").change == "\N{MINUS SIGN}2 against a week before"


def test_purchases_of_seven_completed_days_are_compared_with_the_seven_before(published):
    days = ["2026-03-10", *["2026-03-09", "2026-03-03"] * 3, *["2026-03-02", "2026-02-24"] * 2, "2026-02-23"]
    path = published(purchases=all_of(*(purchase("failed", f"{day} 00:00:00") for day in days)))
    shown = tile(facts_of(path), "Purchases")
    assert (shown.value, shown.change) == ("6", "+50.0 % against the week before")
    assert [row["purchases"] for row in facts_of(path).trend] == [2, *[0] * 5, 2, 3, *[0] * 5, 3]
    alone = published(purchases=purchase("failed", "2026-03-09 00:00:00"))
    assert tile(facts_of(alone), "Purchases").change == "nothing to compare in the week before"


def pulls(*, sessions: int, day: str, quotes: str) -> str:
    return (
        f"SELECT '{day} ' || i AS session_id, 1 AS pull_number, TIMESTAMPTZ '{day} 10:00:00+00' AS pulled_at, "
        f"({quotes})::DECIMAL(18,4) AS buyback_price_usd, 10 AS session_price_usd, 10 AS price_per_pull_usd "
        f"FROM range({sessions}) AS r(i)"
    )


def test_the_return_has_the_interval_of_a_ratio_over_sessions_and_its_change_in_points(published):
    both = all_of(
        pulls(sessions=100, day="2026-03-09", quotes="CASE WHEN i % 2 = 0 THEN 4 ELSE 14 END"),
        pulls(sessions=40, day="2026-03-02", quotes="10"),
    )
    facts = facts_of(published(purchases=FINAL, pulls=both))
    shown = tile(facts, "Return")
    assert facts.weeks[0]["return_error"] == pytest.approx(0.5 / 99**0.5)
    assert shown.value == "90.0 %"
    assert shown.note == "95 % interval 80 % to 100 %"
    assert shown.change == "\N{MINUS SIGN}10.0 points against the week before"
    assert tile(facts, "Median").value == "$9.00"
    assert tile(facts, "Median").change == "\N{MINUS SIGN}10.0 % against the week before"


def test_a_return_of_few_sessions_has_no_interval_and_an_unknown_one_is_a_dash(published):
    few = facts_of(published(purchases=FINAL, pulls=pulls(sessions=29, day="2026-03-09", quotes="i")))
    assert tile(few, "Return").note == "fewer than 30 sessions: no interval"
    none = tile(facts_of(published(purchases=FINAL)), "Return")
    assert (none.value, none.note) == ("\N{EN DASH}", "no pull has a quote and a price")


def test_a_sparkline_is_as_high_as_its_value_and_has_gaps_where_nothing_is_known(published):
    both = all_of(*(pulls(sessions=1, day=day, quotes=q) for day, q in (("2026-02-24", "5"), ("2026-03-09", "10"))))
    line = tile(facts_of(published(purchases=FINAL, pulls=both)), "Median").sparkline
    points = re.findall(r"([ML])([\d.]+) ([\d.]+)", line)
    assert points == [("M", "2.0", "14.0"), ("M", "118.0", "2.0")]
    assert tile(facts_of(published(purchases=FINAL)), "Median").sparkline == ""
