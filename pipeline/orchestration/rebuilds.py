"""Dagster runs that pre-build parts for a rebuild: started by a sensor, taken by any worker."""

import dagster as dg

from pipeline.errors import PipelineError
from pipeline.orchestration.resources import as_dagster_failure
from pipeline.steps import Workspace
from pipeline.transform.shared_rebuild import round_under_way

_TICK_SECONDS = 15  # a rebuild that is worth sharing takes minutes


@dg.op(config_schema={"number": int}, out=dg.Out(dg.Nothing))
def prebuild_share(context: dg.OpExecutionContext) -> None:
    """Pre-builds one share of the rebuild under way."""
    with as_dagster_failure():
        count = Workspace.open_for_reading(needs_key=True).prebuild(context.op_config["number"])
    context.log.info("this process is not needed now" if count is None else f"parts pre-built: {count:,}")


@dg.job(executor_def=dg.in_process_executor, description="Pre-builds one share of the tables of a rebuild.")
def prebuild() -> None:
    prebuild_share()


@dg.sensor(
    job=prebuild,
    minimum_interval_seconds=_TICK_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Starts runs that pre-build parts for a rebuild of a lake in an object store, for any worker to take. The "
        "queue has to allow that many runs besides the rebuild. On one machine a rebuild starts processes itself."
    ),
)
def rebuild_sensor() -> list[dg.RunRequest] | dg.SkipReason:
    try:
        data = Workspace.open_for_reading().data
        found = round_under_way(data) if data.storage.is_remote else None
    except PipelineError as error:
        return dg.SkipReason(str(error))
    if found is None:
        return dg.SkipReason("no rebuild needs other processes")
    return [
        dg.RunRequest(
            run_key=f"{found.id}-{number}",
            run_config={"ops": {"prebuild_share": {"config": {"number": number}}}},
            tags={"rebuild_share": f"{number} of {found.process_count - 1}"},
        )
        for number in range(1, found.process_count)
    ]
