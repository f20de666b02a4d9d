"""Sentences of the report that depend on the data; each is empty if it does not apply."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict

from pipeline.report.queries import Row
from pipeline.report.wording import counted, day, duration, money, percent, short

_NEWS, _NO_NEWS = ("more often than published", "less often than published"), "no significant difference"
_TO_COMPARE = 2  # packs
_CLEARLY_ABOVE = 1.5  # ratio of mean to median from which the page says that few pulls decide the mean


def median_place(pulls: Row) -> str:
    """The shares of quoted pulls below the median and exactly at it."""
    quoted = pulls["priced_pulls"]
    if not quoted:
        return "no pull has a quote"
    below, equal = pulls["below_median"] / quoted, pulls["at_median"] / quoted
    exactly = f", {percent(equal, 0)} exactly at it" if pulls["at_median"] else ""
    return f"{percent(below, 0)} of the quotes are below{exactly}"


def mean_beside_median(pulls: Row) -> str:
    """The distance of mean and median; empty if they are close."""
    if not pulls["priced_pulls"]:
        return ""
    mean, median = float(pulls["buyback_usd"]) / pulls["priced_pulls"], float(pulls["median_usd"])
    if median == 0:
        return f"The median is zero, the mean {money(mean)}." if mean else ""
    if mean < _CLEARLY_ABOVE * median:
        return ""
    return f"The mean is {mean / median:.1f} times the median: few pulls have much of the value and move the mean."


def largest_day(days: list[Row], unfinished_from: dt.date) -> str:
    """The complete day with the largest sum of quotes, and the share of its top pull."""
    totals: dict[dt.date, float] = defaultdict(float)
    counts: dict[dt.date, int] = defaultdict(int)
    top_quotes: dict[dt.date, float] = defaultdict(float)
    for row in days:
        date = row["pulled_date"]
        if date >= unfinished_from:
            continue
        totals[date] += row["total_usd"] or 0
        counts[date] += row["priced_pulls"]
        top_quotes[date] = max(top_quotes[date], float(row["top_quote_usd"] or 0))
    largest = max(totals, key=lambda date: (totals[date], date), default=None)
    if largest is None or not totals[largest]:
        return ""
    total, top = totals[largest], top_quotes[largest]
    return (
        f"The largest complete day is {day(largest)} with {money(total)} in {counted(counts[largest], 'quoted pull')}; "
        f"its top pull, {money(top)}, is {percent(top / total, 0)} of that."
    )


def excluded_from_spend(pulls: Row) -> str:
    """The pulls that spend and return exclude; empty if there are none."""
    without_price = pulls["quoted_pulls"] - pulls["paid_pulls"]
    without_quote = pulls["all_pulls"] - pulls["quoted_pulls"]
    excluded = []
    if without_price:
        excluded.append(f"{counted(without_price, 'quoted pull')} of free purchases or purchases without a price")
    if without_quote:
        excluded.append(f"{counted(without_quote, 'pull')} without a quote")
    return f"Excluded from spend and return: {' and '.join(excluded)}." if excluded else ""


def odds_compared(tiers: list[Row]) -> str:
    """The number of tiers with a hit rate other than published, by a test that is valid for daily looks."""
    tested = [row for row in tiers if row["verdict"] in (*_NEWS, _NO_NEWS)]
    news = [row for row in tested if row["verdict"] in _NEWS]
    untested = len(tiers) - len(tested)
    if not tested:
        return "No tier can be tested yet; the column of verdicts has the reasons."
    verb = "differs" if len(news) == 1 else "differ"
    sentence = f"Of {counted(len(tested), 'tier')} tested, {len(news) or 'none'} {verb} significantly from the "
    sentence += "published rate."
    return sentence + (f" {counted(untested, 'tier')} could not be tested." if untested else "")


def latest_latency(funnel: list[Row]) -> str:
    """The median and the 90th percentile of the latest day with a median; a lower bound of a censored tail."""
    row = next((row for row in reversed(funnel) if row["latency_p50_seconds"] is not None), None)
    if row is None:
        return ""
    followed = duration(row["latency_followed_seconds"])
    tail = row["latency_p90_seconds"]
    shown = f"90 % within {duration(tail)}" if tail is not None else f"the slowest tenth in more than {followed}"
    half = duration(row["latency_p50_seconds"])
    return f"Of the sessions of {day(row['submitted_date'])}, half were fulfilled within {half}, {shown}."


def first_ranked(packs: list[Row]) -> tuple[Row, int, int] | None:
    """The first-ranked pack, the packs that win significantly less often, and all others; None if too few are known."""
    known = [row for row in packs if row["win_rate_low_of_all"] is not None]
    if len(known) < _TO_COMPARE:
        return None
    best = min(known, key=lambda row: row["win_rate_rank"])
    worse = sum(row["win_rate_high_of_all"] < best["win_rate_low_of_all"] for row in known)
    return best, worse, len(known) - 1


def packs_compared(packs: list[Row]) -> str:
    """The comparison of the first-ranked pack with the others, by simultaneous intervals."""
    found = first_ranked(packs)
    if found is None:
        return ""
    best, worse, others = found
    if not worse:
        return (
            "By simultaneous intervals over all packs, the pack that ranks first does not win significantly more often "
            "than any other shown: its rank may be chance."
        )
    return (
        f"By simultaneous intervals over all packs, {short(best['pack_id'], 40)} wins significantly more often than "
        f"{worse} of the {counted(others, 'other pack')} shown"
        + ("." if worse == others else "; the others do not differ significantly.")
    )
