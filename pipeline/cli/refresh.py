"""Runs the Dagster job in this process, with progress, and raises an error for people if it fails."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from types import SimpleNamespace

from pipeline.errors import PipelineError
from pipeline.orchestration.command_line_runs import TAGS, give_runs_an_origin
from pipeline.orchestration.composition import build_definitions
from pipeline.orchestration.dead_runs import fail_dead_runs
from pipeline.orchestration.failures import notify
from pipeline.orchestration.instance import recorded_runs
from pipeline.orchestration.resources import workspace_resource
from pipeline.polling.progress import Progress

_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def _without_capture(log_key: Sequence[str]) -> contextlib.AbstractContextManager[SimpleNamespace]:
    """Replaces Dagster's capture of output in an interactive run.

    Dagster mirrors captured output to the terminal by separate processes, which print a traceback at Ctrl-C.
    """
    nowhere = dict.fromkeys(("external_url", "external_stdout_url", "external_stderr_url", "shell_cmd"))
    return contextlib.nullcontext(SimpleNamespace(log_key=log_key, **nowhere))


class RefreshError(PipelineError):
    """The job failed. The message is the error of the step that failed first."""


def run_refresh(on_line: Callable[[str], None], on_progress: Callable[[Progress], None]) -> None:
    """Runs the job `refresh`, recorded in DAGSTER_HOME (the project's own unless set) for the UI to show.

    This notifies the failure webhook itself: the failure sensor skips runs of the command line.
    Raises RefreshError.
    """
    definitions = build_definitions(workspace_resource(on_line, on_progress))
    job = definitions.resolve_job_def("refresh")
    with recorded_runs() as instance:
        fail_dead_runs(instance)
        # setattr, because it replaces a method
        setattr(instance.compute_log_manager, "capture_logs", _without_capture)  # noqa: B010
        give_runs_an_origin(instance, job.name)
        result = job.execute_in_process(instance=instance, raise_on_error=False, run_config=_QUIET, tags=TAGS)
        if not result.success:
            failed = RefreshError(notify(instance, result.dagster_run, result.all_events, on_line))
            for event in result.get_step_failure_events():
                failed.add_note(f"In {event.step_key}: {event.step_failure_data.error_display_string}")
            raise failed
