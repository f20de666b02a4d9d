"""The run launcher for Celery workers. Needs the extra `distributed`."""

from __future__ import annotations

from dagster_celery.launcher import CeleryRunLauncher


class CeleryLauncher(CeleryRunLauncher):
    """Dagster's launcher, whose canceled runs end as canceled.

    Dagster's own stops the worker's process without recording that somebody asked for it: the run ends as failed, and
    the daemon retries it.
    """

    def terminate(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        return super().terminate(run_id)
