"""Asset specs and metadata, from the tables' declarations and the column lineage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
import duckdb

from pipeline.catalog.recorded_lineage import Origin, asset_origins
from pipeline.catalog.table_profile import table_profile
from pipeline.clock import now
from pipeline.orchestration.definition_settings import VALID_SETTINGS
from pipeline.schema import TABLES
from pipeline.schema.table import Column, Partition, Table, Zone
from pipeline.steps import Workspace
from pipeline.storage.data_directory import DataDirectory
from pipeline.transform.build_report import BuildReport
from pipeline.transform.fingerprint import Derivations

OWNERS = ["team:data"]
_DERIVATIONS = Derivations()


def table_spec(table: Table, deps: list[str] | None = None) -> dg.AssetSpec:
    """The spec of a declared table's asset; `deps` replaces the declared sources."""
    return dg.AssetSpec(
        table.name,
        group_name=table.group,
        description=table.grain.replace("`", ""),
        kinds={"parquet"} if table.zone is Zone.RAW else {"duckdb", "parquet"},
        owners=OWNERS,
        tags={"zone": table.zone.value},
        code_version=None if table.zone is Zone.RAW else _DERIVATIONS.of(table)[:12],
        metadata={
            "dagster/column_schema": column_schema(table),
            "dagster/table_name": table.name,
            **_facts(table),
            **_uri(table),
        },
        deps=upstream(table) if deps is None else deps,
        skippable=True,
    )


def upstream(table: Table) -> list[str]:
    """The upstream assets of the table; intermediate tables are resolved."""
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
                _column_description(column, asset_origins(table)[column.name]),
                dg.TableColumnConstraints(
                    nullable=not column.is_required,
                    unique=table.key == (column.name,),
                    other=_constraints(table, column),
                ),
            )
            for column in table.columns
        ]
    )


def column_lineage(table: Table) -> dg.TableColumnLineage:
    """The source columns of each column. Assets whose rows are counted appear in the description only."""
    return dg.TableColumnLineage(
        {
            column: [
                dg.TableColumnDep(dg.AssetKey(o.table), o.column)
                for o in origins
                if o.column and TABLES[o.table].is_asset
            ]
            for column, origins in asset_origins(table).items()
        }
    )


def materialized(
    workspace: Workspace,
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    numbers: Mapping[str, int | float],
    files: Sequence[dg.TableRecord] = (),
    this_run: str = "",
) -> dg.MaterializeResult[None]:
    """The materialization of a table: what the run did, in words, numbers and files, then the table profile.

    `connection` has the table under its name.
    """
    profile = table_profile(connection, workspace.data.store, table, now())
    metadata: dict[str, Any] = {"this_run": dg.MetadataValue.text(this_run)} if this_run else {}
    metadata |= {**numbers, **profile.numbers}
    metadata |= {name: dg.MetadataValue.md(text) for name, text in profile.texts.items()}
    if files:
        metadata["files"] = dg.MetadataValue.table(files)
    if table.sources:
        metadata["dagster/column_lineage"] = column_lineage(table)
    return dg.MaterializeResult(asset_key=table.name, metadata=metadata)


def built(
    workspace: Workspace, connection: duckdb.DuckDBPyConnection, report: BuildReport, seconds: float
) -> dg.MaterializeResult[None]:
    """The materialization of a table from a builder's report and the duration in seconds."""
    done = {"parts_written": len(report.written), "parts_unchanged": report.unchanged_count}
    if report.adopted_count:
        done["parts_prebuilt"] = report.adopted_count
    return materialized(workspace, connection, report.table, {**done, "seconds": round(seconds, 2)})


def _uri(table: Table) -> dict[str, str]:
    """The URI of the table's Parquet objects; empty if the settings are invalid, which a run reports."""
    if VALID_SETTINGS is None:
        return {}
    data = DataDirectory(VALID_SETTINGS.data_directory)
    folder = data.store.folder(table)
    if VALID_SETTINGS.lake_url:
        return {"dagster/uri": folder.replace(str(data.root), VALID_SETTINGS.lake_url, 1)}
    return {"dagster/uri": f"file://{folder}"}


def _facts(table: Table) -> dict[str, dg.MetadataValue[Any]]:
    """What the declaration says of the whole table.

    It is metadata and not part of the description, because Dagster's catalog shows descriptions as plain text.
    """
    found: dict[str, str] = {}
    if table.key:
        found["key"] = ", ".join(f"`{name}`" for name in table.key)
    if table.partition is not Partition.NONE:
        found["parts"] = f"By UTC day, the {table.partition.value}. Days with many rows are cut further."
    if table.references:
        found["references"] = ", ".join(
            f"{_link(reference.table, reference.table)} by {', '.join(f'`{name}`' for name in reference.columns)}"
            for reference in table.references
        )
    if table.sources:
        found["derived_from"] = ", ".join(_link(name, name) for name in upstream(table))
    return {name: dg.MetadataValue.md(text) for name, text in found.items()}


def _column_description(column: Column, origins: Iterable[Origin]) -> str:
    parts = [column.meaning]
    if sources := ", ".join(_origin(origin) for origin in origins):
        parts.append(f"From {sources}")
    return ". ".join(parts)


def _origin(origin: Origin) -> str:
    return _link(origin.table, origin.label) if TABLES[origin.table].is_asset else origin.label


def _constraints(table: Table, column: Column) -> list[str]:
    named = ["key"] if column.key else []
    named += [f"one of {', '.join(column.accepted)}"] if column.accepted else []
    return named + [f"in {reference.table}" for reference in table.references if column.name in reference.columns]


def _link(asset: str, text: str) -> str:
    """A link to the asset's page within the UI."""
    return f"[{text}](/assets/{asset})"
