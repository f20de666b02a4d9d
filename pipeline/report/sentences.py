"""Sentences of the report that are true of some data only: each is computed, and empty where nothing is to say."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict

from pipeline.report.queries import Row
from pipeline.report.wording import counted, day, duration, money, percent, short

_NEWS, _NO_NEWS = ("more often than published", "less often than published"), "no difference shown"
_TO_COMPARE = 2  # packs
_CLEARLY_ABOVE = 1.5  # times the median from which a mean is said to be that of few pulls


def median_place(pulls: Row) -> str:
    """What share of the quoted pulls is below the median, and what share is exactly that."""
    quoted = pulls["priced_pulls"]
    if not quoted:
        return "no pull is quoted"
    below, equal = pulls["below_median"] / quoted, pulls["at_median"] / quoted
    exactly = f", {percent(equal, 0)} exactly at it" if pulls["at_median"] else ""
    return f"{percent(below, 0)} of the quotes are below{exactly}"


def mean_beside_median(pulls: Row) -> str:
    """How far apart mean and median are; empty where they are near each other."""
    if not pulls["priced_pulls"]:
        return ""
    mean, median = float(pulls["buyback_usd"]) / pulls["priced_pulls"], float(pulls["median_usd"])
    if median == 0:
        return f"The median is zero, the mean {money(mean)}." if mean else ""
    if mean < _CLEARLY_ABOVE * median:
        return ""
    return (
        f"The mean is {mean / median:.1f} times the median: few pulls hold much of the value, and it moves with them."
    )


def largest_day(days: list[Row]) -> str:
    """What the day with the largest sum of quotes rests on: one pull, or many."""
    totals: dict[dt.date, float] = defaultdict(float)
    counts: dict[dt.date, int] = defaultdict(int)
    dearest: dict[dt.date, float] = defaultdict(float)
    for row in days:
        date = row["pulled_date"]
        totals[date] += row["total_usd"] or 0
        counts[date] += row["priced_pulls"]
        dearest[date] = max(dearest[date], float(row["dearest_usd"] or 0))
    largest = max(totals, key=lambda date: (totals[date], date), default=None)
    if largest is None or not totals[largest]:
        return ""
    total, top = totals[largest], dearest[largest]
    return (
        f"The largest day is {day(largest)} with {money(total)} in {counted(counts[largest], 'quoted pull')}; "
        f"its dearest pull, {money(top)}, is {percent(top / total, 0)} of that."
    )


def left_out_of_spend(pulls: Row) -> str:
    """Which pulls are in no figure of spend and return; empty where all are in."""
    without_price = pulls["quoted_pulls"] - pulls["paid_pulls"]
    without_quote = pulls["all_pulls"] - pulls["quoted_pulls"]
    left_out = []
    if without_price:
        left_out.append(f"{counted(without_price, 'quoted pull')} whose purchase was free or came without a price")
    if without_quote:
        left_out.append(f"{counted(without_quote, 'pull')} without a quote")
    return f"Left out of spend and return: {' and '.join(left_out)}." if left_out else ""


def odds_told(tiers: list[Row]) -> str:
    """How many of the tiers are hit more or less often than published, by a test that may be looked at every day."""
    tested = [row for row in tiers if row["verdict"] in (*_NEWS, _NO_NEWS)]
    news = [row for row in tested if row["verdict"] in _NEWS]
    untested = len(tiers) - len(tested)
    if not tested:
        return "No tier can be tested yet: the column of verdicts says why."
    told = f"Of {counted(len(tested), 'tier')} tested, {len(news) or 'none'} {'is' if len(news) == 1 else 'are'} "
    told += "hit at another rate than published, as far as can be told."
    return told + (f" {counted(untested, 'tier')} could not be tested." if untested else "")


def latency_told(funnel: list[Row]) -> str:
    """How long the sessions of the latest day took of which half can be told, and where the tail has not been seen."""
    row = next((row for row in reversed(funnel) if row["latency_p50_seconds"] is not None), None)
    if row is None:
        return ""
    followed = duration(row["latency_followed_seconds"])
    tail = row["latency_p90_seconds"]
    shown = f"90 % within {duration(tail)}" if tail is not None else f"the slowest tenth longer than {followed}"
    half = duration(row["latency_p50_seconds"])
    return f"Of the sessions of {day(row['submitted_date'])}, half were fulfilled within {half}, {shown}."


def packs_compared(packs: list[Row]) -> str:
    """What can be said of which pack wins more often, by intervals that hold for all packs at once."""
    known = [row for row in packs if row["win_rate_low_of_all"] is not None]
    if len(known) < _TO_COMPARE:
        return ""
    best = min(known, key=lambda row: row["win_rate_rank"])
    worse = sum(row["win_rate_high_of_all"] < best["win_rate_low_of_all"] for row in known)
    others = len(known) - 1
    if not worse:
        return (
            "By intervals that hold for all packs at once, the pack that ranks first cannot be told to win more often "
            "than any other shown: its place may be chance."
        )
    return (
        f"By intervals that hold for all packs at once, {short(best['pack_id'], 40)} wins more often than {worse} of "
        f"the {counted(others, 'other pack')} shown" + ("." if worse == others else "; of the rest it cannot be told.")
    )
