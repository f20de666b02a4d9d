"""Group `publish`: the DuckDB file that notebooks open, and the report on it that anybody can open."""

import dagster as dg

from pipeline.assets.declared import OWNERS
from pipeline.assets.resources import WorkspaceResource
from pipeline.lake.store import StoreError
from pipeline.schema import PUBLISHED


@dg.asset(
    group_name="publish",
    description="One DuckDB file with every table, replaced in one step; notebooks may keep it open.",
    kinds={"duckdb"},
    owners=OWNERS,
    deps=[table.name for table in PUBLISHED],
)
def warehouse(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[WorkspaceResource]
) -> dg.MaterializeResult[None]:
    with workspace.open() as opened:
        published = opened.publish()
        try:
            opened.compact()
        except StoreError as error:  # the tables are published, and the report waits for nothing else
            line = f"raw objects were left unmerged: {error}"
            context.log.warning(line)
            workspace.on_line(line)
    return dg.MaterializeResult(
        metadata={
            "path": dg.MetadataValue.path(str(published.path)),
            "bytes": published.size,
            "rows_kept_from_before": published.kept_row_count,
            **{f"{name}_rows": count for name, count in published.row_counts.items()},
        }
    )


@dg.asset(
    group_name="publish",
    description="One HTML page on what the DuckDB file holds, for any browser, with no network. When it fails, the "
    "tables are published all the same.",
    kinds={"html"},
    owners=OWNERS,
    deps=[warehouse],
)
def report(workspace: dg.ResourceParam[WorkspaceResource]) -> dg.MaterializeResult[None]:
    with workspace.open() as opened:
        path = opened.report()
    return dg.MaterializeResult(metadata={"path": dg.MetadataValue.path(str(path)), "bytes": path.stat().st_size})
