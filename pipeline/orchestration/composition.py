"""The composition root: builds the definitions around one workspace resource."""

from __future__ import annotations

import dagster as dg

from pipeline.orchestration.automation import (
    daily_refresh,
    database_sensor,
    inbox_sensor,
    pending_sensor,
    refresh,
)
from pipeline.orchestration.checks import ASSET_CHECKS
from pipeline.orchestration.definition_settings import SETTINGS
from pipeline.orchestration.failures import failure_sensor
from pipeline.orchestration.freshness import freshness_policy
from pipeline.orchestration.pipeline_step import run_pipeline
from pipeline.orchestration.rebuilds import prebuild, rebuild_sensor
from pipeline.orchestration.retention import prune_runs, weekly_prune
from pipeline.orchestration.shards import poll_shard, shard_sensor


def build_definitions(workspace: dg.ResourceDefinition) -> dg.Definitions:
    """The definitions around one workspace resource."""
    has_shards, has_helpers = SETTINGS.poll_shards > 1, SETTINGS.rebuild_processes > 1
    policy = freshness_policy(SETTINGS.daily_cron, SETTINGS.poll_budget)
    return dg.Definitions(
        assets=dg.map_asset_specs(lambda spec: spec.replace_attributes(freshness_policy=policy), [run_pipeline]),
        asset_checks=ASSET_CHECKS,
        jobs=[refresh, prune_runs, *([poll_shard] if has_shards else []), *([prebuild] if has_helpers else [])],
        schedules=[daily_refresh, weekly_prune],
        sensors=[
            inbox_sensor,
            database_sensor,
            pending_sensor,
            failure_sensor,
            *([shard_sensor] if has_shards else []),
            *([rebuild_sensor] if has_helpers else []),
        ],
        resources={"workspace": workspace},
        # The step runs in the run's own process, because another would take seconds to start.
        executor=dg.in_process_executor,
    )
