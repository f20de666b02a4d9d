"""Records the parts of each derived table and their inputs, so that only changed parts are rebuilt.

The manifest is a cache: its loss costs a rebuild, never data. It is saved after the objects that it describes. If the
process is killed in between, these objects are rebuilt with the same content. Its record has what is the table's as a
whole, and names one object for each month of parts.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Set
from typing import NamedTuple

import msgspec

from pipeline.schema.table import Table
from pipeline.storage.day_parts import Span
from pipeline.storage.manifest_months import MonthObjects, month_of
from pipeline.storage.object_storage import ObjectStorage
from pipeline.storage.records import Records

_NAME = "manifest"
_SAVED_EVERY = 2.0  # seconds; parts of this interval are rebuilt after a kill
_ATTEMPTS = 2  # to read a manifest that another process may be saving


class Statistics(NamedTuple):
    """What a run needs of a part of purchases to find the parts that it has to open.

    `resolved_from` and `resolved_until` are the first and the last minute in which its rows were resolved, such as
    2026-01-01T0515. `pending_count` is the number of rows whose status may change with time alone.
    """

    resolved_from: str | None = None
    resolved_until: str | None = None
    pending_count: int = 0


class Part(msgspec.Struct, frozen=True, array_like=True):
    """One object of a derived table: the fingerprint of its inputs, and a version that changes with each write.

    An unchanged `etag` shows that the object is unchanged, without opening it. If the etag differs, the object is still
    unchanged if its `checksum` is equal: restoring a backup changes the modification time.

    The remaining fields are the `Statistics` of a part of purchases. A part is written as a list of its values, because
    each run reads and writes the entries of the whole history.
    """

    inputs: str
    version: str
    row_count: int
    byte_count: int
    etag: str
    checksum: int
    resolved_from: str | None = None
    resolved_until: str | None = None
    pending_count: int = 0


_NO_STATISTICS = Statistics()


class Cut(msgspec.Struct, frozen=True):
    """The times of the rows of a raw day, by the names of the objects as first written.

    `identity` is that of the day's rows; merging preserves it.
    """

    identity: str
    spans: dict[str, list[Span]]


class Entries(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What is known of parts of one table, by the part's name.

    `taken_in` maps each part by observation in the table to its version. `out_of_date` maps each part by resolution
    whose rows were replaced to a version; tables that join rows of such a part are derived again. A raw table has only
    `cuts`: what cuts its larger days into parts.
    """

    parts: dict[str, Part] = {}
    taken_in: dict[str, str] = {}
    out_of_date: dict[str, str] = {}
    cuts: dict[str, Cut] = {}

    def add(self, others: Entries) -> None:
        """Adds the entries of other parts."""
        for field in _FIELDS:
            getattr(self, field).update(getattr(others, field))


_FIELDS = Entries.__struct_fields__


class TableState(Entries, forbid_unknown_fields=True, omit_defaults=True):
    """The parts of one table, and the fingerprint of their derivation.

    `verified_on` is the UTC day on which all objects were last verified.
    """

    derivation: str | None = None
    verified_on: str | None = None


class _Record(msgspec.Struct, forbid_unknown_fields=True):
    """The state of each table without the entries of months, and the digest of the object of each month."""

    tables: dict[str, TableState] = {}
    months: dict[str, str] = {}


class Manifest:
    """The state of every derived table of one data directory."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._objects = MonthObjects(records.storage)
        self._is_changed = False
        self._changed_months: set[str] = set()
        self._saved_at = time.monotonic()
        self._tables, self._months = self._load()

    @classmethod
    def as_saved(cls, storage: ObjectStorage) -> Manifest:
        """The manifest as last saved, for a reader beside the builder.

        The builder's records do not learn of it. So the builder cannot overwrite a manifest that it has not loaded.
        """
        return cls(Records(storage))

    def state(self, table: Table) -> TableState:
        """The table's state, read-only. To change it, use the methods below: they mark the manifest as unsaved."""
        return self._tables.get(table.name) or TableState()

    def versions(self, table: Table) -> dict[str, str]:
        """The version of each part."""
        return {name: part.version for name, part in self.state(table).parts.items()}

    def written(self, table: Table, name: str, part: Part) -> None:
        """Records a written part."""
        self._changed(table, name).parts[name] = part

    def confirmed(self, table: Table, name: str, inputs: str, statistics: Statistics = _NO_STATISTICS) -> None:
        """Records new inputs of an unchanged part and keeps its version."""
        parts = self._changed(table, name).parts
        parts[name] = msgspec.structs.replace(parts[name], inputs=inputs, **statistics._asdict())

    def moved(self, table: Table, name: str, etag: str) -> None:
        """Records the new etag of an unchanged object and keeps its version."""
        parts = self._changed(table, name).parts
        parts[name] = msgspec.structs.replace(parts[name], etag=etag)

    def forget(self, table: Table, name: str) -> None:
        """Removes a part that was deleted or is no longer valid."""
        self._changed(table, name).parts.pop(name, None)

    def derived(self, table: Table, derivation: str) -> None:
        """Records the derivation of all parts of the table."""
        self._changed(table).derivation = derivation

    def verified(self, table: Table, day: str | None) -> None:
        """Records the day on which all objects were verified. None makes the next run verify them."""
        self._changed(table).verified_on = day

    def take_in(self, table: Table, versions: dict[str, str]) -> None:
        """Replaces the versions of the parts by observation that the table includes."""
        changed = dict(versions.items() ^ self.state(table).taken_in.items())
        self._changed(table, *changed).taken_in = versions

    def put_out_of_date(self, table: Table, part: str) -> None:
        """Records that rows resolved within a part were replaced."""
        self._changed(table, part).out_of_date[part] = new_version()

    def cut(self, table: Table, day: str, cut: Cut) -> None:
        """Records the times of the rows of a raw day."""
        self._changed(table, day).cuts[day] = cut

    def clear(self) -> None:
        """Removes all entries but those about raw objects, which never change, so that all tables are rebuilt."""
        self._tables = {name: TableState(cuts=state.cuts) for name, state in self._tables.items() if state.cuts}
        self._changed_months.update(self._months)
        self._is_changed = True

    def save(self) -> None:
        """Writes what has changed. Raises DataDirectoryError, StoreError and ConflictError."""
        if self._is_changed:
            by_month = self._by_month({None, *self._changed_months})
            undated = by_month.pop(None)
            for month, entries in by_month.items():
                self._save_month(str(month), entries)
            tables = {
                name: TableState(
                    **msgspec.structs.asdict(undated.get(name, Entries())),
                    derivation=state.derivation,
                    verified_on=state.verified_on,
                )
                for name, state in self._tables.items()
            }
            self._records.save(_NAME, msgspec.to_builtins(_Record(tables, self._months)))
            self._objects.keep_only(self._months)
            self._is_changed = False
            self._changed_months.clear()
        self._saved_at = time.monotonic()

    def save_now_and_then(self) -> None:
        """Saves at most every two seconds, because a run may write dozens of small tables per second."""
        if time.monotonic() - self._saved_at >= _SAVED_EVERY:
            self.save()

    def _changed(self, table: Table, *names: str) -> TableState:
        """The state of a table of which the entries of these parts or days are about to change."""
        self._is_changed = True
        self._changed_months.update(month for name in names if (month := month_of(name)))
        return self._tables.setdefault(table.name, TableState())

    def _by_month(self, months: Set[str | None]) -> dict[str | None, dict[str, Entries]]:
        """The entries of these months, by table; under None, those that belong to no month.

        Goes through the whole history once, however many months are asked for.
        """
        found: dict[str | None, dict[str, Entries]] = {month: {} for month in months}
        for table, state in self._tables.items():
            for field in _FIELDS:
                for name, value in getattr(state, field).items():
                    if (month := month_of(name)) in found:
                        getattr(found[month].setdefault(table, Entries()), field)[name] = value
        return found

    def _save_month(self, month: str, entries: dict[str, Entries]) -> None:
        self._months.pop(month, None)
        if entries:
            self._months[month] = self._objects.write(month, msgspec.json.encode(entries))

    def _load(self) -> tuple[dict[str, TableState], dict[str, str]]:
        """The tables and the months as saved; none if they are lost."""
        for _ in range(_ATTEMPTS):
            record = self._records.load(_NAME, _Record)
            if record is None:
                break
            contents = self._objects.read(record.months)
            if contents is None:  # lost, or replaced together with the record since that was read
                self._records.storage.refresh()
                continue
            try:
                found = [msgspec.json.decode(content, type=dict[str, Entries]) for content in contents]
            except ValueError:  # of another version
                break
            for month in found:
                for name, entries in month.items():
                    record.tables.setdefault(name, TableState()).add(entries)
            return record.tables, record.months
        return {}, {}


def new_version() -> str:
    """A version that the part has not had before."""
    return secrets.token_hex(8)


def inputs_of(*parts: object) -> str:
    """A fingerprint of the inputs of a part, as `Part.inputs` has it: 128 bits, to keep the manifest small."""
    return digest(*parts)[:32]


def digest(*parts: object) -> str:
    """A fingerprint of values that have a stable JSON form."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
