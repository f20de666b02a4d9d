"""Freshness policy from the schedule: warn after one missed run, fail after two."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import dagster as dg
from croniter import croniter

_SPARE = timedelta(hours=1)  # allowance for queueing and for a run's work besides polling
_TICKS_LOOKED_AT = 400  # more than a year of a daily schedule


def freshness_policy(cron: str, poll_budget: float) -> dg.FreshnessPolicy:
    """The policy for a cron schedule: warn after one missed run, fail after two. `poll_budget` is in seconds.

    Age counts from the end of a run, so the interval between two ends is the schedule's, plus or minus the duration of
    one run.
    """
    ticks = croniter(cron, datetime(2026, 1, 1, tzinfo=UTC), ret_type=datetime)
    gap = max(later - earlier for earlier, later in pairwise(next(ticks) for _ in range(_TICKS_LOOKED_AT)))
    late = timedelta(seconds=poll_budget) + _SPARE
    return dg.FreshnessPolicy.time_window(fail_window=2 * gap + late, warn_window=gap + late)
