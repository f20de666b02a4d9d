"""Titles of charts: each is a finding of the data, and other data make it another."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from pipeline.report import chart_titles

TODAY = date(2026, 3, 10)


def pack(name: str | None, rank: int | None, low: float | None, high: float | None, **more: Any) -> dict[str, Any]:
    bounds = {"win_rate_low_of_all": low, "win_rate_high_of_all": high, "win_rate_rank": rank}
    return {"pack_id": name, "win_rate": 0.25} | bounds | more


def item_type(name: str | None, median: int, quotes: int = 30) -> dict[str, Any]:
    return {"item_type": name, "buyback_median_usd": median, "priced_pull_count": quotes}


def day(number: int, pulls: int, total: float) -> dict[str, Any]:
    return {"pulled_date": date(2026, 3, number), "pulls": pulls, "total_usd": total}


def funnel(fulfilled: int, failed: int, pending: int = 0) -> list[dict[str, Any]]:
    return [{"fulfilled": fulfilled, "failed": failed, "pending": pending, "expired": 0}]


BANDS = ("multiple_below_0_5_count", "multiple_0_5_to_1_count")
TITLES = [
    (
        chart_titles.of_quotes,
        ({"median_usd": 10, "buyback_usd": 60, "priced_pulls": 3},),
        "The median quote is $10.00, the mean $20.00",
    ),
    (
        chart_titles.of_value_shares,
        ({"pull_share": 0.02, "value_share": 0.5},),
        "2.0 % of the pulls have 50 % of the value",
    ),
    (
        chart_titles.of_types,
        ([item_type("a", 5), item_type("b", 6)],),
        "Type b has the highest median quote, $6.00",
    ),
    (
        chart_titles.of_types,
        ([item_type("a", 7), item_type("b", 6)],),
        "Type a has the highest median quote, $7.00",
    ),
    (
        chart_titles.of_types,
        ([item_type(None, 7)],),
        "Type unknown has a median quote of $7.00",
    ),
    (
        chart_titles.of_types,
        ([item_type("a", 70, quotes=29), item_type("b", 6), item_type("c", 5)],),
        "Type b has the highest median quote, $6.00",
    ),
    (
        chart_titles.of_types,
        ([item_type("a", 70, quotes=29)],),
        "No type has 30 quotes yet, too few to compare medians",
    ),
    (
        chart_titles.of_days,
        ([day(7, 2, 9), day(7, 2, 9), day(8, 3, 30), day(10, 99, 999)], "pulls", TODAY),
        "The complete day with the most pulls is Sat 7 Mar 2026: 4",
    ),
    (
        chart_titles.of_days,
        ([day(7, 2, 9), day(7, 2, 9), day(8, 3, 30), day(10, 99, 999)], "total_usd", TODAY),
        "The complete day with the most quoted is Sun 8 Mar 2026: $30.00",
    ),
    (chart_titles.of_days, ([day(10, 99, 999)], "pulls", TODAY), "Pulls: no day is complete yet"),
    (
        chart_titles.of_win_rates,
        ([pack("a", 1, 0.3, 0.4), pack("b", 2, 0.1, 0.2), pack("c", 3, 0.1, 0.35)],),
        "a wins significantly more often than 1 of 2 other packs",
    ),
    (
        chart_titles.of_win_rates,
        ([pack("a", 2, 0.1, 0.2), pack("b", 1, 0.3, 0.4)],),
        "b wins significantly more often than all of 1 other pack",
    ),
    (
        chart_titles.of_win_rates,
        ([pack("a", 1, 0.1, 0.4), pack("b", 2, 0.1, 0.2)],),
        "No pack wins significantly more often than another",
    ),
    (
        chart_titles.of_win_rates,
        ([pack("a", None, None, None), pack("b", 1, 0.1, 0.2)],),
        "Too few pulls to compare the packs",
    ),
    (chart_titles.of_win_rates, ([pack(None, 1, 0.1, 0.2)],), "Unnamed pack wins 25.0 % of its pulls"),
    (
        chart_titles.of_multiples,
        (
            [
                {"quoted_pull_count": 10, BANDS[0]: 3, BANDS[1]: 1},
                {"quoted_pull_count": 10, BANDS[0]: 0, BANDS[1]: None},
            ],
        ),
        "20.0 % of the pulls are quoted below their price",
    ),
    (
        chart_titles.of_outcomes,
        (funnel(3, 1, pending=2),),
        "75.0 % of the final sessions are fulfilled; 2 pending, 0 expired",
    ),
    (chart_titles.of_outcomes, (funnel(0, 0, pending=2),), "2 pending, 0 expired"),
    (chart_titles.of_failures, (funnel(3, 1) + funnel(4, 0),), "12.5 % of the final sessions failed"),
    (
        chart_titles.of_latencies,
        ([{"latency_p50_seconds": 240, "submitted_date": date(2026, 3, 9)}],),
        "Half were fulfilled within 4.0 min on Mon 9 Mar 2026",
    ),
    (chart_titles.of_pending_ages, (5, 2), "2 of 5 sessions pending for over a day"),
    (chart_titles.of_pending_ages, (5, 0), "No session is pending for over a day"),
]


@pytest.mark.parametrize(("title", "drawn", "finding"), TITLES, ids=[finding for *_, finding in TITLES])
def test_a_title_is_what_the_data_say(title, drawn, finding):
    assert title(*drawn) == finding
