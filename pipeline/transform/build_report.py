"""The result of building a table, for people and for Dagster."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.schema.table import Table


@dataclass
class BuildReport:
    """The result of building one table. Parts are days, or the whole table.

    `is_rederived` is true if the rules or columns of the table or of its sources have changed since the last build.
    `adopted_count` counts the written parts that other processes had pre-built.
    """

    table: Table
    is_rederived: bool = False
    written: list[str] = field(default_factory=list)
    unchanged_count: int = 0
    adopted_count: int = 0

    @property
    def line(self) -> str | None:
        """One line for people; None if there is nothing to report."""
        if not self.is_rederived:
            return None
        return f"{self.table.name} was rebuilt from its whole history: its rules or columns changed"
