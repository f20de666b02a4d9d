"""Group `publish`: the published DuckDB file and the report about it."""

from collections.abc import Iterator

import dagster as dg

from pipeline.orchestration.checks import PUBLISHED_CHECK
from pipeline.orchestration.declared import OWNERS
from pipeline.orchestration.step import Step
from pipeline.quality.published_file import disagreements
from pipeline.report.drawing_process import DrawingProcess
from pipeline.schema import PUBLISHED
from pipeline.storage.errors import StoreError
from pipeline.transform.builder import Builder

WAREHOUSE = dg.AssetSpec(
    "warehouse",
    group_name="publish",
    description="One DuckDB file with every table, replaced atomically; notebooks may keep it open.",
    kinds={"duckdb"},
    owners=OWNERS,
    deps=[table.name for table in PUBLISHED],
    skippable=True,
)
REPORT = dg.AssetSpec(
    "report",
    group_name="publish",
    description="One HTML page about the DuckDB file, for any browser, without network. The tables are published even "
    "if the report fails.",
    kinds={"html"},
    owners=OWNERS,
    deps=["warehouse"],
    skippable=True,
)


def publish(step: Step, builder: Builder) -> Iterator[dg.MaterializeResult[None]]:
    """Publishes the builder's tables unless the file is up to date."""
    published = step.opened.publish(builder)
    try:
        step.opened.compact()
    except StoreError as error:  # no other step depends on the merge
        step.notify(f"raw objects were not merged: {error}")
    if published.is_unchanged and not step.has_to_report("warehouse"):
        return
    yield dg.MaterializeResult(
        asset_key="warehouse",
        metadata={
            "path": dg.MetadataValue.path(str(published.path)),
            "bytes": published.size,
            "window": str(published.window),
            "rows_kept_from_before": published.kept_row_count,
            **{f"{name}_rows": count for name, count in published.row_counts.items()},
        },
    )
    step.check_published(PUBLISHED_CHECK, disagreements(step.opened.data))
    step.stop_if_a_check_failed()


def draw_report(step: Step, process: DrawingProcess | None) -> Iterator[dg.MaterializeResult[None]]:
    """Draws the report unless it is up to date, in the given process if there is one."""
    is_current = step.opened.is_report_current()
    if is_current and not step.has_to_report("report"):
        return
    path = step.opened.data.report if is_current else step.opened.report(process)
    yield dg.MaterializeResult(
        asset_key="report",
        metadata={"path": dg.MetadataValue.path(str(path)), "bytes": path.stat().st_size},
    )
