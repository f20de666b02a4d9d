"""One asset that does nothing, to measure the cost of Dagster's command alone. See `refresh.py`."""

import dagster as dg


@dg.asset
def nothing() -> None:
    pass


defs = dg.Definitions(
    assets=[nothing],
    jobs=[dg.define_asset_job("trivial")],
    executor=dg.in_process_executor,  # as in the pipeline; a process per step would cost more
)
