"""The parts of the raw tables: which there are, the identity of their rows, and the objects that hold them."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.schema.table import Table
from pipeline.storage.compaction import identity
from pipeline.storage.day_parts import Span, day_of, minutes_of, moment_of, parts_of
from pipeline.storage.manifest import Cut, Manifest, digest
from pipeline.storage.objects import Store, file_name, is_merged
from pipeline.storage.parquet_query import read_parquet

_LEAST_BYTES = 256 << 10  # a smaller day has too few rows to be cut, and its objects are not opened


class RawParts:
    """The parts of the raw tables of one data directory, as listed once.

    The times of the objects' rows are kept in the manifest, so that an unchanged day is not opened.
    """

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self._store = store
        self._manifest = manifest
        self._days: dict[str, dict[str, list[str]]] = {}
        self._parts: dict[str, dict[str, dict[str, list[str]]]] = {}
        self._identities: dict[str, dict[str, str]] = {}

    def identities(self, table: Table) -> dict[str, str]:
        """The identity of the rows of each part. It changes with each new object; merging preserves it."""
        self._list(table)
        return self._identities[table.name]

    def objects(self, table: Table, part: str) -> list[str]:
        """The paths of the objects that may have rows of a part."""
        self._list(table)
        names = self._parts[table.name].get(day_of(part), {}).get(part)
        paths = self._days[table.name].get(day_of(part), [])
        return paths if names is None else [path for path in paths if is_merged(path) or file_name(path) in names]

    def at(self, table: Table, minutes: Iterable[int]) -> set[str]:
        """The parts that contain these minutes."""
        found: set[str] = set()
        for day, group in _by_day(minutes).items():
            parts = [(part, minutes_of(part)) for part in self._of_day(table, day)]
            found |= {part for part, (since, until) in parts if any(since <= minute < until for minute in group)}
        return found

    def relation(self, table: Table, parts: Iterable[str]) -> str:
        """A FROM expression for the rows of the given parts, in the order of the objects."""
        relations = [self._relation(table, part) for part in parts]
        if len(relations) == 1:
            return relations[0]
        return (
            f"({' UNION ALL '.join(f'FROM {relation}' for relation in relations)})"
            if relations
            else (self._store.scan(table, []))
        )

    def _relation(self, table: Table, part: str) -> str:
        if part == day_of(part):
            return self._store.scan(table, [part])
        since, until = minutes_of(part)
        time = table.received_at
        return (
            f"(FROM {read_parquet(table, self._store.fetched(self.objects(table, part)))} "
            f"WHERE {time} >= start_of_minute({since}) AND {time} < start_of_minute({until}))"
        )

    def _of_day(self, table: Table, day: str) -> list[str]:
        self._list(table)
        return list(self._parts[table.name].get(day, {}))

    def _list(self, table: Table) -> None:
        if table.name in self._parts:
            return
        sized = self._store.sized_parts(table)
        self._days[table.name] = {day: list(sizes) for day, sizes in sized.items()}
        by_day = {day: self._cut(table, day, sizes) for day, sizes in sized.items()}
        self._identities[table.name] = {
            part: identity(sized[day]) if part == day else digest(names)
            for day, parts in by_day.items()
            for part, names in parts.items()
        }
        self._parts[table.name] = by_day

    def _cut(self, table: Table, day: str, sizes: dict[str, int]) -> dict[str, list[str]]:
        known = self._manifest.state(table).cuts.get(day)
        if known is None and sum(sizes.values()) < _LEAST_BYTES:
            return {day: [file_name(path) for path in sizes]}
        whole = identity(sizes)
        if known is None or known.identity != whole:
            known = Cut(whole, self._spans(table, sizes, known.spans if known else {}))
            self._manifest.cut(table, day, known)
        return parts_of(day, known.spans)

    def _spans(self, table: Table, paths: Iterable[str], known: dict[str, list[Span]]) -> dict[str, list[Span]]:
        found: dict[str, list[Span]] = {}
        for path in paths:
            name = file_name(path)
            replaced = self._store.names_replaced(path) if is_merged(path) and name not in known else ()
            originals = {original for original in replaced if not is_merged(original)}
            if name in known:
                found[name] = known[name]
            elif originals and originals <= known.keys():
                found |= {original: known[original] for original in originals}
            else:
                found[name] = self._store.spans(path, table.received_at)
        return found


def _by_day(minutes: Iterable[int]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for minute in minutes:
        found.setdefault(day_of(moment_of(minute)), []).append(minute)
    return found
