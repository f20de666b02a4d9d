"""What building a table did, for people and for Dagster."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.schema.table import Table


@dataclass
class BuildReport:
    """What building one table did. Parts are days, or the whole table.

    `is_rederived` where its rules or columns, or those of what it is made from, have changed since it was built last.
    """

    table: Table
    is_rederived: bool = False
    written: list[str] = field(default_factory=list)
    unchanged_count: int = 0

    @property
    def line(self) -> str | None:
        """What a person should know of it, if anything."""
        if not self.is_rederived:
            return None
        return f"{self.table.name} was derived anew from its whole history: its rules or columns have changed"
