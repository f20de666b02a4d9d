"""Comparison of derived rows with stored rows. If they are equal, neither the part nor its readers are rebuilt."""

from __future__ import annotations

from collections.abc import Iterable

import duckdb

from pipeline.transform.queries import CONTENT_BY_DAY


def is_same(connection: duckdb.DuckDBPyConnection, made: str, kept: str) -> bool:
    """Whether two queries return the same rows in the same order. For small tables only."""
    first, second = (connection.execute(sql).fetchall() for sql in (made, kept))
    return first == second


def changed_days(connection: duckdb.DuckDBPyConnection, made: str, kept: str, days: Iterable[str]) -> set[str]:
    """The days of submission on which two relations of purchases have different fingerprints.

    Each run derives the days of all sessions polled today again, but only sessions polled since the last run change.
    """
    contents = []
    for source in (made, kept):
        found = connection.execute(CONTENT_BY_DAY.format(source=source))
        contents.append({row[0]: row for row in found.fetchall()})
    return {day for day in days if contents[0].get(day) != contents[1].get(day)}
