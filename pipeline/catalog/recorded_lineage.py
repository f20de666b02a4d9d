"""Where the values of a column come from, as `column_lineage.json` records it.

`lineage` reads it out of the SQL, which takes a parser and half a second. Whatever loads the definitions reads
the record instead. `make fix` renews the record, and a test holds it against the SQL.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import NamedTuple

from pipeline.schema.table import Table

RECORD = Path(__file__).with_name("column_lineage.json")


class Origin(NamedTuple):
    """A column that a value is made of, or, without a column, a table whose rows it counts."""

    table: str
    column: str | None

    @property
    def label(self) -> str:
        """The origin in words."""
        return f"{self.table}.{self.column}" if self.column else f"rows of {self.table}"


def asset_origins(table: Table) -> dict[str, tuple[Origin, ...]]:
    """For each column of a table, what its values are made of, in the tables that users see or that are files."""
    recorded = _record().get(table.name, {})
    return {column.name: tuple(Origin(*origin) for origin in recorded.get(column.name, ())) for column in table.columns}


@functools.cache
def _record() -> dict[str, dict[str, list[tuple[str, str | None]]]]:
    record: dict[str, dict[str, list[tuple[str, str | None]]]] = json.loads(RECORD.read_text(encoding="utf-8"))
    return record
