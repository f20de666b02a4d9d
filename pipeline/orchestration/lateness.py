"""Lateness: the age of the newest success at which runs were missed. Imports no Dagster, for quick commands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from croniter import croniter

_SPARE = timedelta(hours=1)  # allowance for queueing and for a run's work besides polling
_TICKS_LOOKED_AT = 400  # more than a year of a daily schedule


def late_after(missed: int, cron: str, poll_budget: float) -> timedelta:
    """The age of the newest success after which `missed` runs of a cron schedule were missed.

    Age counts from the end of a run, so the interval between two ends is the schedule's longest, plus or minus the
    duration of one run. `poll_budget` is in seconds.
    """
    schedule = croniter(cron, datetime(2026, 1, 1, tzinfo=UTC), ret_type=datetime)
    ticks: list[datetime] = [next(schedule) for _ in range(_TICKS_LOOKED_AT)]
    gap = max(later - earlier for earlier, later in pairwise(ticks))
    return missed * gap + timedelta(seconds=poll_budget) + _SPARE
