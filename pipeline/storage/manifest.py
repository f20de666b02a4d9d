"""Records the inputs of each derived object, so that only changed parts are rebuilt.

The manifest is a cache: losing it costs a rebuild, never data. It is saved after the
objects that it describes; after a kill in between they are rebuilt with the same content.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid

from pipeline.schema.table import Table
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.kept_record import load_record, save_record

_SAVED_EVERY = 2.0  # seconds; parts of this interval are rebuilt after a kill
_VERIFIED = "verified objects"  # stands where tables' names do


class Manifest:
    """For each table and part: a fingerprint of its inputs, and a version that changes with each write."""

    def __init__(self, data: DataDirectory) -> None:
        self._path = data.root / "staging" / "manifest.json"
        self._is_changed = False
        self._saved_at = time.monotonic()
        self._parts = load_record(self._path, dict[str, dict[str, tuple[str, str]]]) or {}

    def inputs(self, table: Table, part: str) -> str | None:
        return self._parts.get(table.name, {}).get(part, (None, None))[0]

    def versions(self, table: Table) -> dict[str, str]:
        return {part: version for part, (_, version) in self._parts.get(table.name, {}).items()}

    def written(self, table: Table, part: str, inputs: str) -> None:
        self._parts.setdefault(table.name, {})[part] = (inputs, uuid.uuid4().hex)
        self._is_changed = True

    def confirmed(self, table: Table, part: str, inputs: str) -> None:
        """Notes new inputs for an unchanged part and keeps its version."""
        _, version = self._parts[table.name][part]
        self._parts[table.name][part] = (inputs, version)
        self._is_changed = True

    def forget(self, table: Table, part: str) -> None:
        self._parts.get(table.name, {}).pop(part, None)
        self._is_changed = True

    def verified_on(self, table: Table) -> str | None:
        """The day on which all of the table's objects were verified last."""
        return self._parts.get(_VERIFIED, {}).get(table.name, (None, None))[0]

    def note_verified(self, table: Table, day: str) -> None:
        self._parts.setdefault(_VERIFIED, {})[table.name] = (day, "")
        self._is_changed = True

    def clear(self) -> None:
        self._parts = {}
        self._is_changed = True

    def save(self) -> None:
        """Writes what has changed. Raises DataDirectoryError."""
        if self._is_changed:
            save_record(self._path, self._parts)
            self._is_changed = False
        self._saved_at = time.monotonic()

    def save_now_and_then(self) -> None:
        """Saves unless the last save was a moment ago: a run may write dozens of small tables a second."""
        if time.monotonic() - self._saved_at >= _SAVED_EVERY:
            self.save()


def digest(*parts: object) -> str:
    """A fingerprint of values that have a stable JSON form."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
