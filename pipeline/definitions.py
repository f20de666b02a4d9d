"""The composition root: everything that Dagster loads."""

from __future__ import annotations

import dagster as dg

from pipeline.assets.automation import daily_refresh, inbox_sensor, refresh
from pipeline.assets.checks import ASSET_CHECKS
from pipeline.assets.derived import TABLE_ASSETS
from pipeline.assets.publish import report, warehouse
from pipeline.assets.raw import pending_sessions, session_submissions, status_responses
from pipeline.assets.resources import workspace_resource


def build_definitions(workspace: dg.ResourceDefinition) -> dg.Definitions:
    """The definitions around one workspace resource."""
    return dg.Definitions(
        assets=[session_submissions, pending_sessions, status_responses, *TABLE_ASSETS, warehouse, report],
        asset_checks=ASSET_CHECKS,
        jobs=[refresh],
        schedules=[daily_refresh],
        sensors=[inbox_sensor],
        resources={"workspace": workspace},
        # One process is several times faster here than one per step: most steps take milliseconds.
        executor=dg.in_process_executor,
    )


defs = build_definitions(workspace_resource())
