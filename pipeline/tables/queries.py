"""The SQL from which tables are derived: one file a table, and the macros that they share."""

from __future__ import annotations

from pathlib import Path

from pipeline.schema.table import Table

_SQL = Path(__file__).parent / "sql"
MACROS = ("macros", "card_macros", "mart_macros")


def query(table: Table) -> str:
    """The query that derives the table from its sources."""
    return (_SQL / f"{table.name}.sql").read_text(encoding="utf-8")


def macros() -> str:
    """The rules that several queries share, as SQL macros: those of answers, of cards, and of marts."""
    return "\n".join((_SQL / f"{name}.sql").read_text(encoding="utf-8") for name in MACROS)
