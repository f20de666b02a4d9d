"""Records the parts in the published file, so that a publication copies only new parts.

The record is a cache: if it is missing or describes another file, the next publication copies everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple, TypedDict

from pipeline.schema.table import Table
from pipeline.storage.checksum import crc_until
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.manifest import digest
from pipeline.storage.window import Window


class Part(NamedTuple):
    """One object of the lake: its path (in the record below the root), its stamp and its number of rows."""

    path: str
    stamp: str
    row_count: int


_NAME = "published"
_Tables = dict[str, tuple[str, list[Part]]]  # by table: the digest of its declaration, and its parts


class _Content(TypedDict):
    file: tuple[int, int]  # size and modification time, which identify the file
    crc32: int
    tables: _Tables
    window: tuple[int, str | None]  # days, and the last one


class Record:
    """The parts of the published tables in the order of their rows, as recorded when this object is made."""

    def __init__(self, data: DataDirectory) -> None:
        self._records = data.records
        self._warehouse = data.warehouse
        self._root = f"{data.root.as_posix()}/"
        self._recorded = self._load()

    def _load(self) -> _Content | None:
        record = self._records.load(_NAME, _Content)
        try:
            return record if record and record["file"] == _identity(self._warehouse) else None
        except OSError:  # no file is published
            return None

    def parts(self, table: Table) -> list[Part]:
        """The parts in the published file; none if unknown or if the declaration has changed."""
        return (self._parts(self._recorded["tables"], table) or []) if self._recorded else []

    def all_parts(self, published: Iterable[Table], window: Window) -> dict[Table, list[Part]] | None:
        """The parts of each of these tables; None if any is unknown, or the file has another table or window."""
        record = self._recorded
        if record is None or record["window"] != _of_window(window):
            return None
        found = {table: self._parts(record["tables"], table) for table in published}
        if record["tables"].keys() != {table.name for table in found}:
            return None
        known = {table: parts for table, parts in found.items() if parts is not None}
        return known if known.keys() == found.keys() else None

    def _parts(self, tables: _Tables, table: Table) -> list[Part] | None:
        declaration, parts = tables.get(table.name, (None, []))
        if declaration != _declaration(table):
            return None
        return [part._replace(path=f"{self._root}{part.path}") for part in parts]

    def is_whole(self, crc32: int) -> bool:
        """Whether a copy with this CRC-32 equals the file as published, byte for byte."""
        return self._recorded is not None and self._recorded["crc32"] == crc32

    def save(self, parts: Mapping[Table, list[Part]], window: Window) -> None:
        """Records the parts in the published file, and its window. Raises DataDirectoryError."""
        tables = {
            table.name: (
                _declaration(table),
                [part._replace(path=part.path.removeprefix(self._root)) for part in held],
            )
            for table, held in parts.items()
        }
        file = {"file": _identity(self._warehouse), "crc32": _crc(self._warehouse)}
        self._records.save(_NAME, file | {"tables": tables, "window": _of_window(window)})

    def forget(self) -> None:
        """Forces the next publication to copy everything."""
        self._records.forget(_NAME)


def _of_window(window: Window) -> tuple[int, str | None]:
    return (window.publish_days, window.last_day.isoformat() if window.last_day else None)


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return (found.st_size, found.st_mtime_ns)


def _crc(path: Path) -> int:
    with path.open("rb") as file:
        return crc_until(file, path.stat().st_size)


def _declaration(table: Table) -> str:
    columns = [(c.name, c.type, c.is_required, c.meaning) for c in table.columns]
    return digest(table.grain, columns)
