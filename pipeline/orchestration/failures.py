"""Failure notification: one line with cause and remedy, in the run's log and to a webhook."""

from __future__ import annotations

import html
import socket
from collections.abc import Callable, Sequence

import dagster as dg

from pipeline.errors import PipelineError
from pipeline.orchestration.command_line_runs import is_from_command_line
from pipeline.orchestration.run_history import HOST, WHAT_TO_DO
from pipeline.settings import EnvironmentSetting, WebhookSettings

_TICK_SECONDS = 30
_TAG_LENGTH = 250  # the UI shows the tag in the list of runs
_PUBLISHED = dg.AssetKey("warehouse")
_EVENT_TYPES = [
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
    dg.DagsterEventType.RUN_FAILURE,
]


def what_to_do(events: Sequence[dg.DagsterEvent]) -> str:
    """The line about a failed run: the error of the step that failed first."""
    for event in events:
        if event.is_step_failure:
            return _of_step(event, events)
    for event in events:
        if event.event_type is dg.DagsterEventType.RUN_FAILURE and event.message:
            return event.message
    return "the run failed; its page in the Dagster UI shows the error"


def _of_step(event: dg.DagsterEvent, events: Sequence[dg.DagsterEvent]) -> str:
    failure = event.step_failure_data
    if failure.user_failure_data and failure.user_failure_data.description:
        return failure.user_failure_data.description
    error = failure.error
    if error and error.cls_name == "DagsterExecutionInterruptedError":
        return "stopped by a signal; received answers are kept, and the next refresh continues"
    if error and error.cls_name == "DagsterAssetCheckFailedError":
        return _of_checks(events)
    while error and error.cause:
        error = error.cause
    return f"{event.step_key}: {error.message.strip() if error else 'failed'}"


def _of_checks(events: Sequence[dg.DagsterEvent]) -> str:
    evaluations = [
        event.asset_check_evaluation_data
        for event in events
        if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION
    ]
    return failed_checks(
        [check for check in evaluations if not check.passed and check.severity is dg.AssetCheckSeverity.ERROR]
    )


def failed_checks(failed: Sequence[dg.AssetCheckEvaluation]) -> str:
    """The remedy for failed blocking checks."""
    names = "; ".join(
        f"{check.asset_key.to_user_string()} fails its check {check.check_name} ({check.description})"
        for check in failed
    )
    outcome = (
        "do not rely on the published file"
        if any(check.asset_key == _PUBLISHED for check in failed)
        else "nothing was published; the published file is unchanged"
    )
    return f"{names}: {outcome}; run `phygitals rebuild`, then `phygitals refresh`; if the check fails again, report it"


def notify(
    instance: dg.DagsterInstance,
    run: dg.DagsterRun,
    events: Sequence[dg.DagsterEvent],
    on_warning: Callable[[str], object],
) -> str:
    """Notifies about a failed run in its log, in a tag and by the webhook if set; returns the line.

    A failure of the webhook goes to `on_warning` and has no other effect.
    """
    line = what_to_do(events)
    instance.report_engine_event(WHAT_TO_DO + line, run)
    instance.add_run_tags(run.run_id, {"what_to_do": line[:_TAG_LENGTH]})
    url = WebhookSettings.failure_webhook_url()
    if url is not None:
        recorded = instance.get_run_by_id(run.run_id)
        # A run that failed before it wrote has no tag, and is reported by a process of its own host in most cases.
        host = (recorded or run).tags.get(HOST) or socket.gethostname()
        environment = EnvironmentSetting.name()
        message = {
            # Slack and similar services interpret markup: `<!channel>` would notify everybody.
            "text": html.escape(f"Phygitals {environment} on {host}: {run.job_name} failed: {line}", quote=False),
            "environment": environment,
            "host": host,
            "job": run.job_name,
            "run_id": run.run_id,
            "what_to_do": line,
        }
        from pipeline.orchestration import webhook  # importing its HTTP client is slow, and few runs fail

        try:
            webhook.post(url, message, variable="PHYGITALS_FAILURE_WEBHOOK")
        except PipelineError as error:
            on_warning(f"the notification of run {run.run_id} failed: {error}")
    return line


@dg.run_failure_sensor(
    name="failure_sensor",
    minimum_interval_seconds=_TICK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Adds one line with cause and remedy to the log of a failed run, tags the run with it, and posts it as JSON to "
        "the webhook in PHYGITALS_FAILURE_WEBHOOK, if set. A failure of the webhook is logged here and has no other "
        "effect. `phygitals refresh` does the same for its own runs, which this sensor skips."
    ),
)
def failure_sensor(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
    run = context.dagster_run
    if is_from_command_line(run):
        return dg.SkipReason(f"run {run.run_id} was started by the command line, which notifies about its own failures")
    records = context.instance.get_records_for_run(run.run_id, of_type=set(_EVENT_TYPES)).records
    events = [event for record in records if (event := record.event_log_entry.dagster_event)]
    notify(context.instance, run, events, context.log.warning)
    return None
