"""The filters of the page, as a condition on `explored.pulls`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

import duckdb

from pipeline.report.wording import escape_controls

# The filters by a choice of values: words for people, and columns. A user is found by the whole id.
CHOICES = {
    "pack": "pack_id",
    "item type": "item_type",
    "grader": "grader",
    "grade": "grade",
    "category": "category",
    "set": "set_name",
}
# What the figures can be grouped by: these, and further ones.
GROUPS = {
    **CHOICES,
    "week": "week_start_date",
    "day": "pulled_date",
    "year of the card": "year_number",
    "print run": "print_run",
    "user": "user_id",
}
OPTIONS_SHOWN = 500
UNKNOWN = "(unknown)"


@dataclass(frozen=True)
class Selection:
    """The pulls that are looked at: of these UTC days, this user, and, by column, one of these values.

    None is a bound that is open, or any user; among values it is the unknown one. A column without values is not
    filtered by.
    """

    first_day: dt.date | None = None
    last_day: dt.date | None = None
    user_id: str | None = None
    values: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)

    def condition(self) -> tuple[str, dict[str, object]]:
        """SQL over the columns of `explored.pulls`, and its parameters."""
        terms, parameters = [], dict[str, object]()
        for sql, name, bound in (
            ("pulled_date >= $first_day", "first_day", self.first_day),
            ("pulled_date <= $last_day", "last_day", self.last_day),
            ("user_id = $user_id", "user_id", self.user_id),
        ):
            if bound is not None:
                terms.append(sql)
                parameters[name] = bound
        for column, chosen in self.values.items():
            if chosen:
                or_unknown = f" OR {column} IS NULL" if None in chosen else ""
                terms.append(f"({column} IN (SELECT unnest(${column}::VARCHAR[])){or_unknown})")
                parameters[column] = [value for value in chosen if value is not None]
        return " AND ".join(terms) or "true", parameters


@dataclass(frozen=True)
class Options:
    """What can be chosen: the days with pulls, and for each filter its values by their words, most pulls first."""

    first_day: dt.date | None
    last_day: dt.date | None
    values: Mapping[str, Mapping[str, str | None]]


def options(cursor: duckdb.DuckDBPyConnection) -> Options:
    """The values with the most pulls, at most `OPTIONS_SHOWN` of each filter."""
    ((first_day, last_day),) = cursor.execute(
        "SELECT min(pulled_date), max(pulled_date) FROM explored.pulls"
    ).fetchall()
    values = {}
    for words, column in CHOICES.items():
        found = cursor.execute(
            f"SELECT {column} FROM explored.pulls GROUP BY {column} "
            f"ORDER BY count(*) DESC, {column} LIMIT {OPTIONS_SHOWN}"
        ).fetchall()
        values[words] = _by_words([value for (value,) in found])
    return Options(first_day, last_day, values)


def _by_words(values: list[str | None]) -> dict[str, str | None]:
    named: dict[str, str | None] = {}
    for value in values:
        words = UNKNOWN if value is None else escape_controls(value)
        while words in named:  # a received value may look like our own word
            words += " "
        named[words] = value
    return named
