"""What an asset shows of its table, from the table's declaration."""

from __future__ import annotations

from typing import Any

import dagster as dg

from pipeline.schema import TABLES
from pipeline.schema.table import Table, Zone
from pipeline.tables.build import BuildReport, derivation

OWNERS = ["team:data"]


def asset_options(table: Table, deps: list[str] | None = None) -> dict[str, Any]:
    """The arguments of `dg.asset` that follow from the declaration; `deps` where the sources do not say it."""
    return {
        "name": table.name,
        "group_name": table.group,
        "description": table.grain,
        "kinds": {"parquet"} if table.zone is Zone.RAW else {"duckdb", "parquet"},
        "owners": OWNERS,
        "code_version": None if table.zone is Zone.RAW else derivation(table)[:12],
        "metadata": {"dagster/column_schema": column_schema(table), "dagster/table_name": table.name},
        "deps": upstream(table) if deps is None else deps,
    }


def upstream(table: Table) -> list[str]:
    """The assets that the table is derived from, looking through the intermediate tables."""
    found: dict[str, None] = {}
    for source in (TABLES[name] for name in table.sources):
        found.update(dict.fromkeys([source.name] if source.is_asset else upstream(source)))
    return list(found)


def column_schema(table: Table) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                column.type,
                column.description,
                dg.TableColumnConstraints(nullable=not column.is_required, unique=table.key == (column.name,)),
            )
            for column in table.columns
        ]
    )


def built(report: BuildReport, preview: list[dict[str, Any]]) -> dg.MaterializeResult[None]:
    """What the materialization of a table shows."""
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": report.row_count,
            "parts_written": len(report.written),
            "parts_unchanged": report.unchanged_count,
            "preview": dg.MetadataValue.md(_markdown(preview)),
        }
    )


def _markdown(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "no rows"
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    lines += ["| " + " | ".join(_cell(value) for value in row.values()) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    text = "" if value is None else " ".join(str(value).split())
    return text[:40].replace("|", "\\|").replace("<", "&lt;")
