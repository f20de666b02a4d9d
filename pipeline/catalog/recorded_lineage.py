"""The column lineage as recorded in `column_lineage.json`.

Deriving the lineage from the SQL takes half a second, so the definitions load this record instead. `make fix` renews
it, and a test compares it with the SQL.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import NamedTuple

from pipeline.schema.table import Table

RECORD = Path(__file__).with_name("column_lineage.json")


class Origin(NamedTuple):
    """A source column of a value; without a column, a table whose rows are counted."""

    table: str
    column: str | None

    @property
    def label(self) -> str:
        """The origin in words."""
        return f"{self.table}.{self.column}" if self.column else f"rows of {self.table}"


def asset_origins(table: Table) -> dict[str, tuple[Origin, ...]]:
    """The source columns of each column of a table, in assets or in tables read from files."""
    recorded = _record().get(table.name, {})
    return {column.name: tuple(Origin(*origin) for origin in recorded.get(column.name, ())) for column in table.columns}


@functools.cache
def _record() -> dict[str, dict[str, list[tuple[str, str | None]]]]:
    record: dict[str, dict[str, list[tuple[str, str | None]]]] = json.loads(RECORD.read_text(encoding="utf-8"))
    return record
