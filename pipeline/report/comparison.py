"""Yesterday beside the seven days before and the whole period: the rows of the report's table and of the digest."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.report.queries import Facts, Row
from pipeline.report.wording import UNKNOWN, count, money, percent

_DAYS = 7
_COUNTS = {
    "purchases": "Purchases",
    "fulfilled": "Fulfilled",
    "failed": "Failed",
    "pending": "Pending",
    "expired": "Expired",
    "pulls": "Pulls",
}
_AMOUNTS = {
    "buyback_usd": "Quoted buyback, all pulls",
    "spend_usd": "Spend",
    "spend_buyback_usd": "Quoted buyback on spend",
}


@dataclass(frozen=True)
class Compared:
    """One figure in words. `week_before` is a mean per day for sums, and says so; else the figure of all seven days."""

    label: str
    yesterday: str
    week_before: str
    overall: str


def of_period(facts: Facts, period: str) -> Row:
    """The figures of purchases, pulls and spend of one period."""
    return facts.purchases[period] | facts.pulls[period] | facts.spend[period]


def compared(facts: Facts) -> list[Compared]:
    """Every figure of the comparison, in the order of the report."""
    yesterday, week, overall = (of_period(facts, period) for period in ("yesterday", "week_before", "overall"))
    rows = [
        Compared(label, count(yesterday[name]), f"{week[name] / _DAYS:,.1f} a day", count(overall[name]))
        for name, label in _COUNTS.items()
    ]
    rows += [
        Compared(label, money(yesterday[name]), _money_a_day(week[name]), money(overall[name]))
        for name, label in _AMOUNTS.items()
    ]
    ratios = [percent(_return(row)) for row in (yesterday, week, overall)]
    medians = [money(row["median_usd"]) for row in (yesterday, week, overall)]
    tops = [money(row["top_quote_usd"]) for row in (yesterday, week, overall)]
    return [
        *rows,
        Compared("Return on spend", *ratios),
        Compared("Median quote", *medians),
        Compared("Top pull", *tops),
    ]


def _money_a_day(sum_of_week: object) -> str:
    return UNKNOWN if sum_of_week is None else f"{money(float(str(sum_of_week)) / _DAYS)} a day"


def _return(row: Row) -> float | None:
    return float(row["spend_buyback_usd"] / row["spend_usd"]) if row["spend_usd"] else None
