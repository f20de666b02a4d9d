"""Whether what would be written is there already: neither it nor what follows from it need be written then."""

from __future__ import annotations

from collections.abc import Iterable

import duckdb

from pipeline.transform.queries import CONTENT_BY_DAY


def is_same(connection: duckdb.DuckDBPyConnection, made: str, kept: str) -> bool:
    """Whether two queries, of a small table each, have the same rows in the same order."""
    first, second = (connection.execute(sql).fetchall() for sql in (made, kept))
    return first == second


def changed_days(connection: duckdb.DuckDBPyConnection, made: str, kept: str, days: Iterable[str]) -> set[str]:
    """The days of submission on which two relations of purchases differ, as far as fingerprints tell.

    A session that was asked today touches its day with each of today's runs, and changes it with one.
    """
    contents = []
    for source in (made, kept):
        found = connection.execute(CONTENT_BY_DAY.format(source=source))
        contents.append({row[0]: row for row in found.fetchall()})
    return {day for day in days if contents[0].get(day) != contents[1].get(day)}
