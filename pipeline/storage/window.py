"""The window of the published file: the UTC days of which it has the rows of the tables that are cut by day.

A table that is cut by day is published from the first day of the window on: `pulls` and `item_attributes` by the day on
which the answer came, `purchases` by the day of submission. Every other table is derived from the whole lake and is
published whole.

A purchase of an earlier day may be pending, or may have been resolved within the window. The file has such days of
submission as well, each whole. So every pull in the file has its purchase, and no pending purchase is missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import PurePosixPath

import duckdb

from pipeline.schema.publication import PUBLICATION
from pipeline.schema.table import Partition, Table
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.day_parts import day_of
from pipeline.storage.manifest import Manifest


@dataclass(frozen=True)
class Window:
    """So many UTC days until `last_day`; without days, the whole lake."""

    publish_days: int = 0
    last_day: date | None = None

    @classmethod
    def until(cls, moment: datetime, publish_days: int) -> Window:
        """The days until the one of a moment. With 0 days, the whole lake."""
        return cls(publish_days, moment.astimezone(UTC).date()) if publish_days else cls()

    @classmethod
    def of_file(cls, connection: duckdb.DuckDBPyConnection) -> Window:
        """The window of the published file, which is the connection's default database."""
        found = connection.execute(
            "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database() AND table_name = ?",
            [PUBLICATION.name],
        ).fetchone()
        if found is None:  # published by an earlier version
            return cls()
        row = connection.execute(f"SELECT publish_days, last_day FROM {PUBLICATION.name}").fetchone()
        return cls(*row) if row else cls()

    @property
    def first_day(self) -> date | None:
        """The first day; None if the file has the whole lake."""
        return self.last_day - timedelta(days=self.publish_days - 1) if self.last_day else None

    def __str__(self) -> str:
        return f"{self.first_day} to {self.last_day}" if self.last_day else "all days"

    def etags(self, data: DataDirectory, table: Table) -> dict[str, str]:
        """The etags of the table's objects in the window, by path, in the order of their rows. Opens no object.

        The table must have been built: the manifest knows which days of submission are needed. A day after the last
        one, from a machine whose clock was ahead, is in the window.
        """
        found = data.store.etags(table)
        if self.first_day is None or table.partition is Partition.NONE:
            return found
        first = self.first_day.isoformat()
        earlier = _days_needed(data, table, first) if table.partition is Partition.SUBMITTED else set()
        return {path: etag for path, etag in found.items() if (day := day_of(part_of(path))) >= first or day in earlier}


def part_of(path: str) -> str:
    """The part of a table's object in the lake."""
    return PurePosixPath(path).stem


def _days_needed(data: DataDirectory, table: Table, first: str) -> set[str]:
    """The days of submission with a pending purchase, or with one that was resolved on the first day or later.

    Days are whole, however they are cut into parts.
    """
    parts = Manifest.as_saved(data.storage).state(table).parts
    return {day_of(name) for name, part in parts.items() if part.pending_count or (part.resolved_until or "") >= first}
