"""How old an asset may become before its page says so: as long as the daily schedule leaves it, and no longer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import dagster as dg
from croniter import croniter

_SPARE = timedelta(hours=1)  # for waiting in the queue and for what a run does beside polling
_TICKS_LOOKED_AT = 400  # more than a year of a daily schedule


def freshness_policy(cron: str, poll_budget: float) -> dg.FreshnessPolicy:
    """Warns when a refresh is late, and fails when the one after it is, too. `poll_budget` is in seconds.

    A run counts from its end, so two successive ones are apart by what the schedule leaves between them, give or take
    the time that one takes.
    """
    ticks = croniter(cron, datetime(2026, 1, 1, tzinfo=UTC), ret_type=datetime)
    gap = max(later - earlier for earlier, later in pairwise(next(ticks) for _ in range(_TICKS_LOOKED_AT)))
    late = timedelta(seconds=poll_budget) + _SPARE
    return dg.FreshnessPolicy.time_window(fail_window=2 * gap + late, warn_window=gap + late)
