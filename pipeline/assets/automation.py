"""What starts the job by itself: the daily schedule, and the sensor that watches the inbox."""

import dagster as dg

from pipeline.assets.dead_runs import fail_dead_runs
from pipeline.errors import PipelineError
from pipeline.settings import Settings, SettingsError
from pipeline.submissions.inbox import fingerprint, new_files
from pipeline.workspace import Workspace, now

_TICK_SECONDS = 15
_NAMES_SHOWN = 3
_NAMES_LENGTH = 80

refresh = dg.define_asset_job(
    "refresh",
    selection=dg.AssetSelection.all(),
    description="Takes in new submissions, asks every pending session, rebuilds what changed and publishes.",
)


def _daily_cron() -> str:
    """The setting, or its default while the settings are wrong; the run then says what is wrong."""
    try:
        return Settings.load().daily_cron
    except SettingsError:
        return str(Settings.model_fields["daily_cron"].default)


daily_refresh = dg.ScheduleDefinition(
    name="daily_refresh",
    job=refresh,
    cron_schedule=_daily_cron(),
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Follows every pending session once a day, whether or not new files came.",
)


@dg.sensor(
    job=refresh,
    minimum_interval_seconds=_TICK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts a refresh when files lie in the inbox that no run has read, and clears away dead runs.",
)
def inbox_sensor(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    try:
        data = Workspace.open().data
        for run_id in fail_dead_runs(context.instance, data):
            context.log.warning(f"run {run_id} died with its process and is reported as failed")
        found = new_files(data)
    except PipelineError as error:
        return dg.SkipReason(str(error))
    if not found:
        return dg.SkipReason("no new file in the inbox")
    names = ", ".join(file.name for file in found[:_NAMES_SHOWN])
    # Files that are still unread in an hour, since their run was cancelled, say, are asked for again.
    run_key = f"{fingerprint(found)}-{now():%Y%m%dT%H}"
    return dg.RunRequest(run_key=run_key, tags={"inbox_files": str(len(found)), "inbox": names[:_NAMES_LENGTH]})
