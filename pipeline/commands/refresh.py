"""Runs the whole Dagster job in this process, with progress, and raises what a person must know."""

from __future__ import annotations

import os
from collections.abc import Callable

import dagster as dg

from pipeline.assets.dead_runs import fail_dead_runs
from pipeline.assets.resources import workspace_resource
from pipeline.definitions import build_definitions
from pipeline.errors import PipelineError
from pipeline.polling.progress import Progress
from pipeline.settings import PROJECT_ROOT
from pipeline.workspace import Workspace

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class RefreshError(PipelineError):
    """The job failed. The message is that of the step that failed first."""


def run_refresh(on_line: Callable[[str], None], on_progress: Callable[[Progress], None]) -> None:
    """Runs the job `refresh`, recorded in DAGSTER_HOME (the project's own unless set) for the UI to show.

    Raises RefreshError.
    """
    os.environ.setdefault("DAGSTER_HOME", str(PROJECT_ROOT / "dagster_home"))
    definitions = build_definitions(workspace_resource(on_line, on_progress))
    job = definitions.resolve_job_def("refresh")
    with dg.DagsterInstance.get() as instance:
        fail_dead_runs(instance, Workspace.open().data)
        result = job.execute_in_process(instance=instance, raise_on_error=False, run_config=_QUIET)
    if not result.success:
        raise RefreshError(_first_failure(result))


def _first_failure(result: dg.ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            if failure.user_failure_data and failure.user_failure_data.description:
                return failure.user_failure_data.description
            error = failure.error
            if error and error.cls_name == "DagsterExecutionInterruptedError":
                return "stopped by a signal; what came is kept, and the next refresh carries on"
            if error and error.cls_name == "DagsterAssetCheckFailedError":
                return _failed_checks(result)
            while error and error.cause:
                error = error.cause
            return f"{event.step_key}: {error.message.strip() if error else 'failed'}"
    return "the run failed; its page in the Dagster UI says why"


def _failed_checks(result: dg.ExecuteInProcessResult) -> str:
    failed = [
        f"{check.asset_key.to_user_string()} fails its check {check.check_name} ({check.description})"
        for check in result.get_asset_check_evaluations()
        if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR
    ]
    return (
        f"{'; '.join(failed)}: nothing was published, and the published file is as it was; "
        "run `phygitals refresh` once more, and if it fails again, report what it says"
    )
