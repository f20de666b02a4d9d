"""The title of each chart: its finding, computed from the rows that are drawn.

Received names in titles are shortened; the page escapes them. Unfinished days are drawn, but no title is about them.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict

from pipeline.report.queries import Row
from pipeline.report.sentences import first_ranked
from pipeline.report.wording import count, counted, day, duration, money, percent, short

_NAME_LENGTH = 40
_QUOTES_TO_COMPARE = 30  # of an item type; the median of fewer is too uncertain for a title
_LOSING_BANDS = ("multiple_below_0_5_count", "multiple_0_5_to_1_count")


def of_quotes(pulls: Row) -> str:
    """The middle and the mean of the quotes."""
    return f"The median quote is {money(pulls['median_usd'])}, the mean {money(_mean(pulls))}"


def of_value_shares(tail: Row) -> str:
    """The few pulls with half of the value."""
    return f"{percent(tail['pull_share'])} of the pulls have {percent(tail['value_share'], 0)} of the value"


def of_types(types: list[Row]) -> str:
    """The item type with the highest median quote, of those with enough quotes."""
    known = [row for row in types if row["priced_pull_count"] >= _QUOTES_TO_COMPARE]
    if not known:
        return f"No type has {_QUOTES_TO_COMPARE} quotes yet, too few to compare medians"
    best = max(known, key=lambda row: row["buyback_median_usd"])
    name = short(best["item_type"], _NAME_LENGTH) if best["item_type"] is not None else "unknown"
    quote = money(best["buyback_median_usd"])
    return f"Type {name} has {'the highest median quote,' if len(known) > 1 else 'a median quote of'} {quote}"


def of_days(days: list[Row], column: str, unfinished_from: dt.date) -> str:
    """The completed day with the largest sum of a column."""
    sums: dict[dt.date, float] = defaultdict(float)
    for row in days:
        sums[row["pulled_date"]] += row[column] or 0
    in_dollars = column.endswith("_usd")
    finished = {date: amount for date, amount in sums.items() if date < unfinished_from}
    if not finished:
        return f"{'Quoted buyback' if in_dollars else 'Pulls'}: no day is complete yet"
    most = max(finished, key=lambda date: (finished[date], date))
    if in_dollars:
        return f"The complete day with the most quoted is {day(most)}: {money(finished[most])}"
    return f"The complete day with the most pulls is {day(most)}: {count(int(finished[most]))}"


def of_win_rates(packs: list[Row]) -> str:
    """Whether the first-ranked pack wins more often than others, by simultaneous intervals."""
    if len(packs) == 1:
        return f"{_pack(packs[0])} wins {percent(packs[0]['win_rate'])} of its pulls"
    found = first_ranked(packs)
    if found is None:
        return "Too few pulls to compare the packs"
    best, worse, others = found
    if not worse:
        return "No pack wins significantly more often than another"
    number = "all" if worse == others else count(worse)
    return f"{_pack(best)} wins significantly more often than {number} of {counted(others, 'other pack')}"


def of_multiples(packs: list[Row]) -> str:
    """The share of pulls quoted below their price."""
    losing = sum(row[band] or 0 for row in packs for band in _LOSING_BANDS)
    return (
        f"{percent(losing / sum(row['quoted_pull_count'] for row in packs))} of the pulls are quoted below their price"
    )


def of_outcomes(funnel: list[Row]) -> str:
    """The share of fulfilled sessions among the final ones, and the number that is not final."""
    sums = {name: sum(row[name] or 0 for row in funnel) for name in ("fulfilled", "failed", "pending", "expired")}
    final = sums["fulfilled"] + sums["failed"]
    waiting = f"{count(sums['pending'])} pending, {count(sums['expired'])} expired"
    return f"{percent(sums['fulfilled'] / final)} of the final sessions are fulfilled; {waiting}" if final else waiting


def of_failures(mature: list[Row]) -> str:
    """The failed share of the final sessions of all days drawn."""
    failed = sum(row["failed"] for row in mature)
    return f"{percent(failed / (failed + sum(row['fulfilled'] for row in mature)))} of the final sessions failed"


def of_latencies(timed: list[Row]) -> str:
    """The median of the latest day."""
    latest = timed[-1]
    return f"Half were fulfilled within {duration(latest['latency_p50_seconds'])} on {day(latest['submitted_date'])}"


def of_pending_ages(pending: int, long_pending: int) -> str:
    """How many of the pending sessions are so for over a day."""
    if not long_pending:
        return "No session is pending for over a day"
    return f"{count(long_pending)} of {counted(pending, 'session')} pending for over a day"


def _mean(pulls: Row) -> float:
    return float(pulls["buyback_usd"]) / float(pulls["priced_pulls"])


def _pack(row: Row) -> str:
    return short(row["pack_id"], _NAME_LENGTH) if row["pack_id"] is not None else "Unnamed pack"
