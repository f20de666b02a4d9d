"""Dagster runs that poll the shards of a round: started by a sensor, taken by any worker."""

import time

import dagster as dg

from pipeline.errors import PipelineError
from pipeline.orchestration.resources import as_dagster_failure
from pipeline.polling.progress import Progress
from pipeline.polling.shards import round_under_way
from pipeline.steps import Workspace

CLAIM_WITHIN = 30.0  # seconds in which a worker may start on a shard before the refresh starts a process for it
_TICK_SECONDS = 2
_LOG_EVERY = 5.0  # seconds


@dg.op(config_schema={"shard": int}, out=dg.Out(dg.Nothing))
def poll_one_shard(context: dg.OpExecutionContext) -> None:
    """Polls one shard of the sessions of the refresh under way."""
    last_line = 0.0

    def log_progress(progress: Progress) -> None:
        nonlocal last_line
        if time.monotonic() - last_line >= _LOG_EVERY:
            last_line = time.monotonic()
            context.log.info(progress.line)

    with as_dagster_failure():
        progress = Workspace.open().poll_shard(context.op_config["shard"], log_progress)
    context.log.info(f"{progress.line}; {progress.ending}" if progress else "the shard is polled by another process")


@dg.job(executor_def=dg.in_process_executor, description="Polls one shard of the sessions of a refresh.")
def poll_shard() -> None:
    poll_one_shard()


@dg.sensor(
    job=poll_shard,
    minimum_interval_seconds=_TICK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Starts a run for each polling shard of a refresh, for any worker to take. The queue has to allow that many "
        "runs besides the refresh. If no run takes a shard within half a minute, the refresh starts a process for it."
    ),
)
def shard_sensor() -> list[dg.RunRequest] | dg.SkipReason:
    try:
        found = round_under_way(Workspace.open_for_reading().data)
    except PipelineError as error:
        return dg.SkipReason(str(error))
    if found is None:
        return dg.SkipReason("no refresh is polling in shards")
    return [
        dg.RunRequest(
            run_key=f"{found.id}-{shard}",
            run_config={"ops": {"poll_one_shard": {"config": {"shard": shard}}}},
            tags={"polling_shard": f"{shard} of {found.shard_count}"},
        )
        for shard in range(1, found.shard_count)
    ]
