"""The run launcher for Celery workers. Needs the extra `distributed`."""

from __future__ import annotations

from typing import Any

from dagster import DagsterRun
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG


class CeleryLauncher(CeleryRunLauncher):
    """Dagster's launcher, with two differences.

    A canceled run ends as canceled: Dagster's own launcher stops the worker's process without recording that somebody
    asked for it, so that the run ends as failed and the daemon retries it. And a run of which Redis knows nothing,
    since it lost its data or since a command line started it, is not taken for dead: the lease tells whether it lives.
    """

    def terminate(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        self._instance.report_run_canceling(run)
        return super().terminate(run_id)

    def check_run_worker_health(self, run: DagsterRun) -> Any:  # the class of the result has no public name
        # A run of the command line is no task of Celery's. Redis knows nothing of the one that its id would name.
        found = super().check_run_worker_health(run.with_tags({DAGSTER_CELERY_TASK_ID_TAG: run.run_id, **run.tags}))
        statuses = type(found.status)
        return found._replace(status=statuses.RUNNING) if found.status is statuses.UNKNOWN else found
