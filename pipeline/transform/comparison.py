"""Comparison of derived rows with stored rows. If they are equal, neither the part nor its readers are rebuilt."""

from __future__ import annotations

from collections.abc import Iterable

import duckdb

from pipeline.transform.queries import CONTENT_BY_PART


def is_same(connection: duckdb.DuckDBPyConnection, made: str, kept: str) -> bool:
    """Whether two queries return the same rows in the same order. For small tables only."""
    first, second = (connection.execute(sql).fetchall() for sql in (made, kept))
    return first == second


def changed_parts(connection: duckdb.DuckDBPyConnection, made: str, kept: str, parts: Iterable[str]) -> set[str]:
    """The parts in which two relations of purchases have different fingerprints. `rebuilt_parts` lists the parts.

    Each run derives the parts of all sessions polled recently again, but only sessions polled since the last run
    change.
    """
    contents = []
    for source in (made, kept):
        found = connection.execute(CONTENT_BY_PART.format(source=source))
        contents.append({row[0]: row for row in found.fetchall()})
    return {part for part in parts if contents[0].get(part) != contents[1].get(part)}
