"""The parts of the lake by time, so that a run checks again only the parts that have changed.

Tables are cut by time of answer or by time of submission, each part in an object of its own. A check that is cut by
time finds nothing in a part as long as the part's rows are those in which it found nothing before.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import duckdb

from pipeline.quality.rules import Check
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.schema.staging import PURCHASES
from pipeline.schema.table import Partition, Table, Zone
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.day_parts import is_part, minutes_of
from pipeline.storage.manifest import Manifest, digest
from pipeline.storage.month_copies import MonthCopies
from pipeline.transform.raw_parts import RawParts
from pipeline.transform.whole_tables import WholeTables

_SHORT = 16  # hexadecimal digits; a lake has thousands of parts, and a fingerprint of each is recorded

# Purchases are cut by submission. This is the identity of those that were resolved in each part by time of answer.
_RESOLVED = """
    WITH by_minute AS (
        SELECT utc_minute(resolved_at) AS minute, count(*) AS row_count, bit_xor(hash({columns})) AS fingerprint
        FROM {purchases}
        WHERE resolved_at IS NOT NULL
        GROUP BY ALL
    ),
    parts AS (SELECT unnest($names) AS part, unnest($since) AS since, unnest($until) AS until)
    SELECT part, sum(row_count)::BIGINT, bit_xor(fingerprint)
    FROM by_minute ASOF JOIN parts ON minute >= since
    WHERE minute < until
    GROUP BY part
"""


class LakeParts:
    """The parts of one data directory. `columns` are those of purchases that checks cut by time of answer read."""

    def __init__(self, data: DataDirectory, columns: Sequence[str]) -> None:
        self._data = data
        self._store = data.store
        self._columns = columns
        self._listed: RawParts | None = None
        # Read once: a month that changed since is recognized by the etags of its parts, and read as it is.
        manifest = functools.cache(lambda: Manifest.as_saved(data.storage))
        self._whole = WholeTables(self._store, MonthCopies(data.storage), manifest)
        self._resolved: dict[str, str] = {}
        self._resolved_of = ""

    def refresh(self) -> None:
        """Has the raw objects listed anew when they are needed."""
        self._listed = None

    @property
    def _raw(self) -> RawParts:
        # Most tables have no checks that are cut, and the manifest of a long history is large.
        if self._listed is None:
            self._listed = RawParts(self._store, Manifest.as_saved(self._data.storage))
        return self._listed

    def inputs(self, check: Check, connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
        """A fingerprint of the rows that the check reads in each part; empty if the tables are not cut alike.

        The connection needs the shared macros.
        """
        states = [self._identities(table) for table in check.reads if table.partition is check.cut_by]
        if _reads_resolved_purchases(check):
            states.append(self._purchases_resolved(connection))
        parts = sorted(set().union(*states))
        if not _are_apart(parts):
            return {}
        return {part: digest([state.get(part) for state in states])[:_SHORT] for part in parts}

    def is_read_whole(self, table: Table, check: Check) -> bool:
        """Whether the check reads all of the table, which is not cut as the others are."""
        is_resolved = table is PURCHASES and _reads_resolved_purchases(check)
        return table.partition is not check.cut_by and not is_resolved

    def whole(self, table: Table) -> str:
        """A FROM expression for all rows of a table."""
        return self._store.relation(table, self._whole.paths(table))

    def relation(self, table: Table, check: Check, parts: Sequence[str]) -> str:
        """A FROM expression for the rows of a table that the check reads in the given parts."""
        if self.is_read_whole(table, check):
            return self.whole(table)
        if table.partition is not check.cut_by:
            return self._resolved_within(parts)
        if table.zone is Zone.RAW:
            return self._raw.relation(table, parts)
        return self._store.scan(table, parts)

    def _identities(self, table: Table) -> dict[str, str]:
        if table.zone is Zone.RAW:
            return self._raw.identities(table)
        etags = self._store.etags(table)
        return {part: digest([etags.get(path) for path in paths]) for part, paths in self._store.parts(table).items()}

    def _purchases_resolved(self, connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
        parts = self._answered()
        state = digest(self._store.etags(PURCHASES), parts)
        if self._resolved_of != state:
            sql = _RESOLVED.format(purchases=self.whole(PURCHASES), columns=", ".join(self._columns))
            since, until = zip(*parts.values(), strict=True) if parts else ((), ())
            values = {"names": list(parts), "since": list(since), "until": list(until)}
            rows = connection.execute(sql, values).fetchall() if parts else []
            self._resolved_of, self._resolved = state, {part: digest(*identity) for part, *identity in rows}
        return self._resolved

    def _answered(self) -> dict[str, tuple[int, int]]:
        """The first minute, and the one after the last, of each part by time of answer."""
        return {part: minutes_of(part) for part in self._raw.identities(STATUS_RESPONSES)}

    def _resolved_within(self, parts: Iterable[str]) -> str:
        """Purchases resolved in the given parts, or by a fault in no part, because no answer came at that time."""
        chosen = _is_within(map(minutes_of, parts))
        answered = _is_within(self._answered().values())
        is_faulty = f"status IN ('fulfilled', 'failed') AND NOT coalesce({answered}, false)"
        return f"(FROM {self.whole(PURCHASES)} WHERE {chosen} OR ({is_faulty}))"


def _reads_resolved_purchases(check: Check) -> bool:
    return check.cut_by is Partition.OBSERVED and PURCHASES in check.reads


def _are_apart(parts: Sequence[str]) -> bool:
    """Whether no two of these sorted parts share a minute, as a part and what it was cut into would."""
    if not all(is_part(part) for part in parts):
        return False
    spans = sorted(minutes_of(part) for part in parts)
    return all(until <= since for (_, until), (since, _) in zip(spans, spans[1:], strict=False))


def _is_within(spans: Iterable[tuple[int, int]]) -> str:
    """SQL: whether a purchase was resolved within these minutes. Adjacent ones are one condition."""
    merged: list[tuple[int, int]] = []
    for since, until in sorted(spans):
        if merged and merged[-1][1] == since:
            since = merged.pop()[0]
        merged.append((since, until))
    conditions = (
        f"resolved_at >= start_of_minute({since}) AND resolved_at < start_of_minute({until})" for since, until in merged
    )
    return f"({' OR '.join(conditions) or 'false'})"
