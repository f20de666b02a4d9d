"""The objects that a query reads for all rows of a table: copies of the months that are over, and the other parts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

import pyarrow as pa

from pipeline.schema.table import Table, Zone
from pipeline.storage.errors import DamagedFileError
from pipeline.storage.manifest import Manifest, inputs_of
from pipeline.storage.manifest_months import month_of
from pipeline.storage.month_copies import MonthCopies
from pipeline.storage.objects import Store
from pipeline.transform.inspection import Inspection

# Below, opening the parts is as fast. Above, a late answer would copy many rows again, and reading them takes the time.
LEAST_PARTS = 8
MOST_BYTES = 8 << 20


class WholeTables:
    """The tables of one builder. `rows` reads the given objects of a table in order."""

    def __init__(
        self,
        *,
        store: Store,
        manifest: Manifest,
        inspection: Inspection,
        copies: MonthCopies,
        rows: Callable[[Table, Iterable[str]], Iterator[pa.RecordBatch]],
    ) -> None:
        self._store = store
        self._manifest = manifest
        self._inspection = inspection
        self._copies = copies
        self._rows = rows
        self._intact: set[str] = set()

    def paths(self, table: Table) -> list[str]:
        """Objects with all rows of the table, in the order of its parts. Each was verified in this run.

        Months before the latest one with many small parts have a copy, which is made if it is missing or damaged.
        Raises DamagedFileError if a part is damaged.
        """
        parts = self._store.parts(table)
        if table.zone is Zone.RAW or len(parts) <= LEAST_PARTS:
            return self._verified(table, parts, parts)
        latest, paths, used = month_of(max(parts)), [], set()
        for month, group in itertools.groupby(sorted(parts), month_of):
            names = list(group)
            if month is None or month == latest or not self._is_worth_a_copy(table, names):
                paths += self._verified(table, parts, names)
                continue
            name = self._copies.name(month, self._digest(table, names))
            if not self._is_intact(table, name):
                self._copies.write(table, name, self._rows(table, self._verified(table, parts, names)))
                self._intact.add(self._copies.path(table, name))
            used.add(name)
            paths.append(self._copies.path(table, name))
        self._copies.keep_only(table, used)
        return paths

    def _verified(self, table: Table, parts: dict[str, list[str]], names: Iterable[str]) -> list[str]:
        paths = [path for name in sorted(names) for path in parts[name]]
        self._inspection.verify_objects(table, paths)
        return paths

    def _is_worth_a_copy(self, table: Table, names: list[str]) -> bool:
        known = self._manifest.state(table).parts
        if len(names) < LEAST_PARTS or not known.keys() >= {*names}:
            return False
        return sum(known[name].byte_count for name in names) <= MOST_BYTES

    def _digest(self, table: Table, names: list[str]) -> str:
        known = self._manifest.state(table).parts
        return inputs_of([known[name].version for name in names])

    def _is_intact(self, table: Table, name: str) -> bool:
        path = self._copies.path(table, name)
        if path in self._intact:
            return True
        if name not in self._copies.names(table):
            return False
        try:
            self._store.verify([path])
        except DamagedFileError:
            return False
        self._intact.add(path)
        return True
