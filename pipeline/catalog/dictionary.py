"""Renders the README's table dictionary from the declarations: `python -m pipeline.catalog.dictionary README.md`."""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.schema import PUBLISHED
from pipeline.schema.publication import PUBLICATION
from pipeline.schema.table import Column, Table

BEGIN = "<!-- dictionary: made by `make fix` from the declarations -->"
END = "<!-- end of dictionary -->"


def render() -> str:
    """The dictionary as Markdown: one section per table, one row per column."""
    return "\n".join(_section(table) for table in (*PUBLISHED, PUBLICATION))


def insert(text: str) -> str:
    """The text with the dictionary between its two marks replaced. Raises ValueError if a mark is missing."""
    before, _, rest = text.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"the text has no {BEGIN!r} followed by {END!r}")
    return f"{before}{BEGIN}\n\n{render()}\n{END}{after}"


def _section(table: Table) -> str:
    rows = "\n".join(
        f"| `{c.name}` | {c.type} | {c.unit or ''} | {_role(c)} | {c.description} |" for c in table.columns
    )
    return (
        f"#### `{table.name}`\n\n{table.grain}\n\n| column | type | unit | | meaning |\n|---|---|---|---|---|\n{rows}\n"
    )


def _role(column: Column) -> str:
    if column.key:
        return "key"
    return "required" if column.is_required else ""


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    readme.write_text(insert(readme.read_text(encoding="utf-8")), encoding="utf-8")
