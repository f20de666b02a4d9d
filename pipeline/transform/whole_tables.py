"""The objects that a query reads for all rows of a table: copies of the months that are over, and the other parts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

import pyarrow as pa

from pipeline.schema.table import Table, Zone
from pipeline.storage.errors import DamagedFileError
from pipeline.storage.manifest import Manifest, inputs_of
from pipeline.storage.manifest_months import month_of
from pipeline.storage.month_copies import MonthCopies
from pipeline.storage.objects import Store

# Below, opening the parts is as fast. Above, a late answer would copy many rows again, and reading them takes the time.
LEAST_PARTS = 8
MOST_BYTES = 8 << 20


class _Month(NamedTuple):
    """Parts that follow each other: their objects, and the name of their copy if they are worth one."""

    paths: list[str]
    copy: str | None = None


class WholeTables:
    """The tables of one data directory, by the versions of their parts in the current manifest."""

    def __init__(self, store: Store, copies: MonthCopies, manifest: Callable[[], Manifest]) -> None:
        self._store = store
        self._copies = copies
        self._manifest = manifest
        self._intact: set[str] = set()

    def paths(self, table: Table) -> list[str]:
        """Objects with all rows of the table in the order of its parts: copies as far as they are there, and parts."""
        months = self._months(table)
        there = self._copies.names(table) if any(month.copy for month in months) else set()
        paths: list[str] = []
        for month in months:
            is_copied = month.copy is not None and self._is_intact(table, month.copy, there)
            paths += [self._copies.path(table, str(month.copy))] if is_copied else month.paths
        return paths

    def copied(
        self,
        table: Table,
        verify: Callable[[Table, Iterable[str]], None],
        rows: Callable[[Table, list[str]], Iterator[pa.RecordBatch]],
    ) -> list[str]:
        """As `paths`, once missing and damaged copies are made and others are removed. Needs the lock.

        Each object was verified: the parts by `verify`, which raises DamagedFileError. `rows` reads objects in order.
        """
        there = self._copies.names(table) if table.zone is not Zone.RAW else set()
        paths: list[str] = []
        used = set()
        for month in self._months(table):
            if month.copy is None:
                verify(table, month.paths)
                paths += month.paths
                continue
            copy = self._copies.path(table, month.copy)
            if not self._is_intact(table, month.copy, there):
                verify(table, month.paths)
                self._copies.write(table, month.copy, rows(table, month.paths))
                self._intact.add(copy)
            used.add(month.copy)
            paths.append(copy)
        self._copies.delete(table, there - used)
        return paths

    def _months(self, table: Table) -> list[_Month]:
        if table.zone is Zone.RAW:
            return [_Month([path for _, paths in sorted(self._store.parts(table).items()) for path in paths])]
        # A derived table has one object for each part, so one listing tells both.
        etags = self._store.etags(table)
        objects = {PurePosixPath(path).stem: path for path in etags}
        if len(objects) <= LEAST_PARTS:
            return [_Month([objects[name] for name in sorted(objects)])]
        latest, months = month_of(max(objects)), []
        for month, group in itertools.groupby(sorted(objects), month_of):
            names = list(group)
            paths = [objects[name] for name in names]
            is_earlier = month is not None and month != latest
            digest = self._digest(table, names, [etags[path] for path in paths]) if is_earlier else None
            months.append(_Month(paths, self._copies.name(str(month), digest) if digest else None))
        return months

    def _digest(self, table: Table, names: list[str], etags: list[str]) -> str | None:
        """The digest of these parts; None if they are not worth a copy or not those of the manifest."""
        known = self._manifest().state(table).parts
        parts = [known[name] for name in names if name in known]
        if len(parts) < LEAST_PARTS or [part.etag for part in parts] != etags:
            return None
        is_small = sum(part.byte_count for part in parts) <= MOST_BYTES
        return inputs_of([part.version for part in parts]) if is_small else None

    def _is_intact(self, table: Table, copy: str, there: set[str]) -> bool:
        path = self._copies.path(table, copy)
        if path not in self._intact and copy in there:
            try:
                self._store.verify([path])
            except DamagedFileError:
                return False
            self._intact.add(path)
        return path in self._intact
