"""The triggers of a refresh: the schedule, new files in the inbox, new rows in the database, due pending sessions."""

from __future__ import annotations

import json
from dataclasses import dataclass

import dagster as dg

from pipeline.clock import now
from pipeline.errors import PipelineError
from pipeline.orchestration.dead_runs import fail_dead_runs
from pipeline.orchestration.definition_settings import SETTINGS
from pipeline.sources.inbox import Inbox, fingerprint
from pipeline.sources.kinds import SELLBACKS, SESSIONS
from pipeline.steps import Workspace
from pipeline.storage.data_directory import DataDirectory
from pipeline.transform.due import Due, due, due_state

_INBOX_TICK_SECONDS = 5
_DATABASE_TICK_SECONDS = 30
_PENDING_TICK_SECONDS = 60
_NAMES_SHOWN = 3
_NAMES_LENGTH = 80
_IN_PROGRESS = "a run is queued or in progress"
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
    description="Reads new submissions, polls every pending session, rebuilds changed tables and publishes.",
    tags={"writer": "refresh"},
)


@dg.schedule(
    job=refresh,
    cron_schedule=SETTINGS.daily_cron,
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=(
        "Polls every pending session once a day, with or without new files, and expires old sessions. "
        "PHYGITALS_DAILY_CRON sets the time in UTC. Starts no run while the API asks to wait."
    ),
)
def daily_refresh() -> dg.RunRequest | dg.SkipReason:
    try:
        return _skip_while_api_asks_to_wait(_workspace_with_inbox()) or dg.RunRequest()
    except PipelineError:
        return dg.RunRequest()  # the run fails and shows the error in the list of runs


@dg.sensor(
    job=refresh,
    minimum_interval_seconds=_INBOX_TICK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Starts a refresh when the inbox or the folder sellbacks has unread files, and marks a run as failed if its "
        "process is gone. A tick lists the folders once and opens no file. It skips while a run is queued or in "
        "progress; the next run reads all files that came meanwhile. If files stay unread, it starts a run once an "
        "hour. It starts no run while the API asks to wait."
    ),
)
def inbox_sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    try:
        workspace = _workspace_with_inbox()
        data = workspace.data
        for run_id in fail_dead_runs(context.instance):
            context.log.warning(f"the process of run {run_id} died; the run was marked as failed")
        found = [file for kind in (SESSIONS, SELLBACKS) for file in Inbox(data, kind).new_files()]
    except PipelineError as error:
        return dg.SkipReason(str(error))
    if not found:
        return dg.SkipReason("no new file in the inbox")
    if _is_in_progress(context.instance, data):
        return dg.SkipReason(f"{_IN_PROGRESS}; new files in the inbox: {len(found)}")
    if skip := _skip_while_api_asks_to_wait(workspace):
        return skip
    names = ", ".join(file.shown for file in found[:_NAMES_SHOWN])
    # Files that are still unread after an hour, for example after a cancelled run, start another run.
    run_key = f"{fingerprint(found)}-{now():%Y%m%dT%H}"
    return dg.RunRequest(run_key=run_key, tags={"inbox_files": str(len(found)), "inbox": names[:_NAMES_LENGTH]})


@dg.sensor(
    job=refresh,
    minimum_interval_seconds=_DATABASE_TICK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Starts a refresh when the query in PHYGITALS_SUBMISSIONS_QUERY has rows that no run has read. A tick counts "
        "the rows since the last read, less the overlap. It skips while a run is queued or in progress, while the API "
        "asks to wait, and while the database cannot be read, with the reason. If rows stay unread, it starts a run "
        "once an hour."
    ),
)
def database_sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    try:
        workspace = _workspace_with_inbox()
        database = workspace.database()
        if database is None:
            return dg.SkipReason("PHYGITALS_SUBMISSIONS_URL is not set")
        if _is_in_progress(context.instance, workspace.data):
            return dg.SkipReason(_IN_PROGRESS)
        if skip := _skip_while_api_asks_to_wait(workspace):
            return skip
        unread = database.unread()
    except PipelineError as error:
        return dg.SkipReason(str(error))
    if unread is None:
        return dg.SkipReason("no new row in the database")
    # Rows that are still unread after an hour, for example after a failed run, start another run.
    return dg.RunRequest(run_key=f"{unread}-{now():%Y%m%dT%H}", tags={"submissions": "database"})


@dg.sensor(
    job=refresh,
    minimum_interval_seconds=_PENDING_TICK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Starts a refresh when pending sessions are due again: a quarter of an hour after their last poll, or an "
        "eighth of their age if that is longer. A tick reads one small file, and the tables only if a run has changed "
        "them. It skips while a run is queued or in progress, and while the API asks to wait."
    ),
)
def pending_sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    try:
        workspace = _workspace_with_inbox()
        data = workspace.data
        if skip := _skip_while_api_asks_to_wait(workspace):
            return skip
        if _is_in_progress(context.instance, data):
            return dg.SkipReason(_IN_PROGRESS)
        state, known = due_state(data), _Cursor.of(context.cursor)
        if known.state != state:
            known = _Cursor(state, due(data))
            context.update_cursor(known.cursor)
    except PipelineError as error:
        return dg.SkipReason(str(error))
    if known.due is None:
        return dg.SkipReason("no session is pending")
    seconds = known.due.at - now().timestamp()
    if seconds > 0:
        return dg.SkipReason(f"{known.due.pending:,} sessions are pending, the first is due in {seconds / 60:,.0f} min")
    # If a run fails before polling, they stay due; the next hour starts another run.
    run_key = f"{state}-{now():%Y%m%dT%H}"
    return dg.RunRequest(run_key=run_key, tags={"pending_sessions": str(known.due.pending)})


def _workspace_with_inbox() -> Workspace:
    """The workspace, with an inbox folder; binds nothing. Raises a PipelineError."""
    workspace = Workspace.open_for_reading(needs_key=True)
    workspace.data.offer_inbox()
    return workspace


def _skip_while_api_asks_to_wait(workspace: Workspace) -> dg.SkipReason | None:
    """The reason to skip if a Retry-After beyond the poll budget has not passed."""
    until = workspace.asked_to_wait_until()
    return dg.SkipReason(f"the API asks to wait until {until:%Y-%m-%d %H:%M:%S} UTC") if until else None


def _is_in_progress(instance: dg.DagsterInstance, data: DataDirectory) -> bool:
    """Whether a run of any starter is queued or in progress."""
    return data.is_being_written() or bool(instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED), limit=1))


@dataclass(frozen=True)
class _Cursor:
    """The sensor's state between ticks and restarts."""

    state: str | None
    due: Due | None

    @classmethod
    def of(cls, cursor: str | None) -> _Cursor:
        if not cursor:
            return cls(None, None)
        state, pending, at = json.loads(cursor)
        return cls(state, Due(pending, at) if pending else None)

    @property
    def cursor(self) -> str:
        return json.dumps([self.state, self.due.pending if self.due else 0, self.due.at if self.due else None])
