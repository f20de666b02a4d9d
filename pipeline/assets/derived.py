"""Groups `staging` and `marts`: one asset for each declared table, all made the same way."""

import time

import dagster as dg

from pipeline.assets.declared import asset_options, built
from pipeline.assets.resources import WorkspaceResource
from pipeline.schema import PUBLISHED
from pipeline.schema.table import Table


def _table_asset(table: Table) -> dg.AssetsDefinition:
    def build(
        context: dg.AssetExecutionContext, workspace: dg.ResourceParam[WorkspaceResource]
    ) -> dg.MaterializeResult[None]:
        started = time.monotonic()
        with workspace.open() as opened:
            with opened.builder() as builder:
                report = builder.build(table)
            if report.line:
                context.log.info(report.line)
                workspace.on_line(report.line)
            return built(opened, report, time.monotonic() - started)

    definition: dg.AssetsDefinition = dg.asset(build, **asset_options(table))
    return definition


TABLE_ASSETS = [_table_asset(table) for table in PUBLISHED]
