"""The triggers of a refresh: the daily schedule, new files in the inbox, and due pending sessions."""

from __future__ import annotations

import json
from dataclasses import dataclass

import dagster as dg

from pipeline.clock import now
from pipeline.errors import PipelineError
from pipeline.orchestration.dead_runs import fail_dead_runs
from pipeline.orchestration.definition_settings import SETTINGS
from pipeline.sources.inbox import fingerprint, new_files
from pipeline.sources.kinds import SELLBACKS
from pipeline.steps import Workspace
from pipeline.storage.data_directory import DataDirectory
from pipeline.transform.due import Due, due, due_state

_INBOX_TICK_SECONDS = 5
_PENDING_TICK_SECONDS = 60
_NAMES_SHOWN = 3
_NAMES_LENGTH = 80
_UNDER_WAY = "a run is queued or in progress"
_UNFINISHED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]

refresh = dg.define_asset_job(
    "refresh",
    # Assets run their own checks: separate check steps would take most of a run's time.
    selection=dg.AssetSelection.all() - dg.AssetSelection.all_asset_checks(),
    description="Takes in new submissions, asks every pending session, rebuilds what changed and publishes.",
)


@dg.schedule(
    job=refresh,
    cron_schedule=SETTINGS.daily_cron,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=(
        "Follows every pending session once a day, whether or not new files came, and lets expire what is too old. "
        "PHYGITALS_DAILY_CRON sets when, in UTC. Starts nothing while the API asks to wait."
    ),
)
def daily_refresh() -> dg.RunRequest | dg.SkipReason:
    try:
        return _asked_to_wait(_watched()) or dg.RunRequest()
    except PipelineError:
        return dg.RunRequest()  # which fails, and says why where people look


@dg.sensor(
    job=refresh,
    minimum_interval_seconds=_INBOX_TICK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Starts a refresh when files lie in the inbox, or in the folder sellbacks, that no run has read, and reports "
        "runs as failed whose process is gone. A tick lists the folders once and opens no file. While a run is queued "
        "or under way it waits: the next one reads all files that came meanwhile. The same unread files are asked for "
        "once an hour. Starts nothing while the API asks to wait."
    ),
)
def inbox_sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    try:
        workspace = _watched()
        data = workspace.data
        for run_id in fail_dead_runs(context.instance):
            context.log.warning(f"run {run_id} died with its process and was marked as failed")
        found = [*new_files(data), *new_files(data, SELLBACKS)]
    except PipelineError as error:
        return dg.SkipReason(str(error))
    if not found:
        return dg.SkipReason("no new file in the inbox")
    if _is_under_way(context.instance, data):
        return dg.SkipReason(f"{_UNDER_WAY}; new files in the inbox: {len(found)}")
    if skip := _asked_to_wait(workspace):
        return skip
    names = ", ".join(file.shown for file in found[:_NAMES_SHOWN])
    # Files that are still unread after an hour, for example after a cancelled run, start another run.
    run_key = f"{fingerprint(found)}-{now():%Y%m%dT%H}"
    return dg.RunRequest(run_key=run_key, tags={"inbox_files": str(len(found)), "inbox": names[:_NAMES_LENGTH]})


@dg.sensor(
    job=refresh,
    minimum_interval_seconds=_PENDING_TICK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Starts a refresh when pending sessions are due though no file came: a quarter of an hour after they were last "
        "asked, later the longer they have been pending (an eighth of their age). A tick reads one small file, and the "
        "tables only when a run has changed them. While a run is queued or under way it does nothing, or while the API "
        "asks to wait."
    ),
)
def pending_sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    try:
        workspace = _watched()
        data = workspace.data
        if skip := _asked_to_wait(workspace):
            return skip
        if _is_under_way(context.instance, data):
            return dg.SkipReason(_UNDER_WAY)
        state, known = due_state(data), _Known.of(context.cursor)
        if known.state != state:
            known = _Known(state, due(data))
            context.update_cursor(known.cursor)
    except PipelineError as error:
        return dg.SkipReason(str(error))
    if known.due is None:
        return dg.SkipReason("no session is pending")
    seconds = known.due.at - now().timestamp()
    if seconds > 0:
        return dg.SkipReason(f"{known.due.pending:,} sessions are pending, the first is due in {seconds / 60:,.0f} min")
    # A run that fails before polling leaves them due; the next hour starts another run.
    run_key = f"{state}-{now():%Y%m%dT%H}"
    return dg.RunRequest(run_key=run_key, tags={"pending_sessions": str(known.due.pending)})


def _watched() -> Workspace:
    """The workspace, with an inbox to drop files into; the first run binds it. Raises a PipelineError."""
    workspace = Workspace.open_for_reading(needs_key=True)
    workspace.data.offer_inbox()
    return workspace


def _asked_to_wait(workspace: Workspace) -> dg.SkipReason | None:
    """The API's Retry-After was longer than a run polls."""
    until = workspace.asked_to_wait_until()
    return dg.SkipReason(f"the API asks to wait until {until:%Y-%m-%d %H:%M:%S} UTC") if until else None


def _is_under_way(instance: dg.DagsterInstance, data: DataDirectory) -> bool:
    """Whether a run is queued or in progress, whoever started it."""
    return data.is_being_written() or bool(instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED), limit=1))


@dataclass(frozen=True)
class _Known:
    """The state that the sensor keeps in its cursor between ticks and restarts."""

    state: str | None
    due: Due | None

    @classmethod
    def of(cls, cursor: str | None) -> _Known:
        if not cursor:
            return cls(None, None)
        state, pending, at = json.loads(cursor)
        return cls(state, Due(pending, at) if pending else None)

    @property
    def cursor(self) -> str:
        return json.dumps([self.state, self.due.pending if self.due else 0, self.due.at if self.due else None])
