"""Verifies objects before tables are derived from them.

Objects are verified when a derivation reads them. In addition, the first run of each UTC day verifies all derived
objects. Other runs do not open an object whose etag equals the one in the manifest, so that the cost of a run without
new data does not grow with history.
"""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.schema.table import Table, Zone
from pipeline.storage.errors import DamagedFileError
from pipeline.storage.manifest import Manifest
from pipeline.storage.objects import Store, file_name


class Inspection:
    """The verification of objects by one builder on a UTC day, such as 2026-03-01."""

    def __init__(self, store: Store, manifest: Manifest, day: str) -> None:
        self._store = store
        self._manifest = manifest
        self._day = day
        self._looked_through: set[str] = set()
        self._verified: set[str] = set()

    def look_through(self, table: Table) -> None:
        """Removes damaged and foreign objects of a derived table, so that they are built again. Raises StoreError."""
        if table.zone is Zone.RAW or table.name in self._looked_through:
            return
        # An object store guards its objects itself; a working copy need not be downloaded to be verified.
        is_due = self._manifest.state(table).verified_on != self._day and not self._store.is_remote
        known = self._manifest.state(table).parts
        for path, etag in self._store.etags(table).items():
            name = file_name(path).removesuffix(".parquet")
            part = known.get(name)
            if part and part.etag == etag and not is_due:
                continue
            try:
                checksum = self._store.checksum(path)
            except DamagedFileError:
                self._store.remove(path)
                continue
            if part and part.checksum != checksum:
                self._store.remove(path)
            elif part and part.etag != etag:
                self._manifest.moved(table, name, etag)
        if is_due:
            self._manifest.verified(table, self._day)
        self._looked_through.add(table.name)

    def verify(self, table: Table, parts: Iterable[str] | None = None) -> None:
        """Verifies the table's objects, or those of the given parts, each once.

        Raises DamagedFileError for the first damaged object. The next run then verifies all objects of a derived table.
        """
        by_part = self._store.parts(table) if parts is None else {part: self._store.part(table, part) for part in parts}
        self.verify_objects(table, (path for paths in by_part.values() for path in paths))

    def verify_objects(self, table: Table, paths: Iterable[str]) -> None:
        """As `verify`, for objects of the table by their paths."""
        unverified = [path for path in dict.fromkeys(paths) if path not in self._verified]
        for path in self._store.fetched(unverified):
            try:
                self._store.verify([path])
            except DamagedFileError:
                self._manifest.verified(table, None)
                raise
            self._verified.add(path)
