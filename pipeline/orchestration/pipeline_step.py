"""One step that makes all assets, since a step costs Dagster more time than most tables take.

Each asset still has its own page, lineage and checks, and can be made alone.
"""

import contextlib
from collections.abc import Iterator

import dagster as dg

from pipeline.orchestration import derived, publish, raw
from pipeline.orchestration.digest import send_digest
from pipeline.orchestration.resources import WorkspaceResource
from pipeline.orchestration.step import Step
from pipeline.report.drawing_process import DrawingProcess
from pipeline.schema import PUBLISHED
from pipeline.settings import env_file_warnings


@dg.multi_asset(specs=[*raw.RAW_SPECS, *derived.TABLE_SPECS, publish.WAREHOUSE, publish.REPORT], can_subset=True)
def run_pipeline(
    context: dg.AssetExecutionContext, workspace: dg.ResourceParam[WorkspaceResource]
) -> Iterator[dg.MaterializeResult[None]]:
    """Makes the selected assets in the order of the data flow."""
    with workspace.open() as opened:
        step = Step(context, workspace, opened)
        for warning in env_file_warnings():
            step.log.warning(warning)
        for asset, make in (
            ("session_submissions", raw.take_in),
            ("sellback_submissions", raw.take_in_sellbacks),
            ("pending_sessions", raw.find_pending),
            ("status_responses", raw.poll),
        ):
            if step.is_asked_for(asset):
                yield from make(step)
        with contextlib.ExitStack() as stack:
            process = None
            if step.is_asked_for("report") and step.has_news:
                process = stack.enter_context(DrawingProcess())
            if any(step.is_asked_for(asset) for asset in ("warehouse", *(table.name for table in PUBLISHED))):
                with opened.builder() as builder:
                    yield from derived.build(step, builder)
                    if step.is_asked_for("warehouse"):
                        yield from publish.publish(step, builder)
            if step.is_asked_for("report"):
                yield from publish.draw_report(step, process)
                send_digest(opened, step.started_at, step.notify)
