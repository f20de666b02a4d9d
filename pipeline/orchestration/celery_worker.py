"""The Celery application of a worker: `celery -A pipeline.orchestration.celery_worker worker`.

It is the application of the run launcher in DAGSTER_HOME. Daemon and worker therefore read one configuration: broker,
queue and concurrency are stated once, and the broker's URL is never written to a file. Needs the extra `distributed`.
"""

from __future__ import annotations

import sys

from celery import Celery
from dagster_celery.tasks import create_execute_job_task

from pipeline.orchestration.celery_launcher import CeleryLauncher
from pipeline.orchestration.instance import recorded_runs
from pipeline.settings import SettingsError


def _application() -> Celery:
    """Raises SettingsError if DAGSTER_HOME has another run launcher."""
    with recorded_runs() as instance:
        launcher = instance.run_launcher
        if not isinstance(launcher, CeleryLauncher):
            raise SettingsError(
                f"dagster.yaml in {instance.root_directory} starts runs with {type(launcher).__name__}: copy "
                "deploy/distributed/dagster.yaml to DAGSTER_HOME"
            )
        create_execute_job_task(launcher.celery)
        return launcher.celery


try:
    app = _application()
except Exception as error:
    # Celery would show a traceback. At this point the causes are settings and servers that are away.
    cause: BaseException = error
    while cause.__cause__:
        cause = cause.__cause__
    sys.exit(f"the worker did not start: {' '.join(str(cause).split())}")
