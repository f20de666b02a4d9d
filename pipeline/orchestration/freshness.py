"""Freshness policy from the schedule: warn after one missed run, fail after two."""

from __future__ import annotations

import dagster as dg

from pipeline.orchestration.lateness import late_after


def freshness_policy(cron: str, poll_budget: float) -> dg.FreshnessPolicy:
    """The policy for a cron schedule: warn after one missed run, fail after two. `poll_budget` is in seconds."""
    return dg.FreshnessPolicy.time_window(
        fail_window=late_after(2, cron, poll_budget), warn_window=late_after(1, cron, poll_budget)
    )
