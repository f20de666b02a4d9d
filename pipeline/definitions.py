"""The composition root: everything that Dagster loads."""

from __future__ import annotations

import dagster as dg

from pipeline.assets.automation import daily_refresh, inbox_sensor, pending_sensor, refresh
from pipeline.assets.checks import ASSET_CHECKS
from pipeline.assets.derived import TABLE_ASSETS
from pipeline.assets.failures import failure_sensor
from pipeline.assets.freshness import freshness_policy
from pipeline.assets.publish import report, warehouse
from pipeline.assets.raw import pending_sessions, session_submissions, status_responses
from pipeline.assets.resources import workspace_resource
from pipeline.assets.retention import prune_runs, weekly_prune
from pipeline.settings import Settings


def build_definitions(workspace: dg.ResourceDefinition) -> dg.Definitions:
    """The definitions around one workspace resource."""
    settings = Settings.load_or_defaults()
    policy = freshness_policy(settings.daily_cron, settings.poll_budget)
    assets = [session_submissions, pending_sessions, status_responses, *TABLE_ASSETS, warehouse, report]
    return dg.Definitions(
        assets=dg.map_asset_specs(lambda spec: spec.replace_attributes(freshness_policy=policy), assets),
        asset_checks=ASSET_CHECKS,
        jobs=[refresh, prune_runs],
        schedules=[daily_refresh, weekly_prune],
        sensors=[inbox_sensor, pending_sensor, failure_sensor],
        resources={"workspace": workspace},
        # One process is several times faster here than one per step: most steps take milliseconds.
        executor=dg.in_process_executor,
    )


defs = build_definitions(workspace_resource())
