"""One asset that does nothing: what Dagster's command costs by itself. See `refresh.py`."""

import dagster as dg


@dg.asset
def nothing() -> None:
    pass


defs = dg.Definitions(
    assets=[nothing],
    jobs=[dg.define_asset_job("trivial")],
    executor=dg.in_process_executor,  # as the pipeline's; a process for each step would cost more
)
