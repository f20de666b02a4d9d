"""Groups `staging` and `marts`: one asset per declared table."""

import time
from collections.abc import Iterator

import dagster as dg

from pipeline.orchestration.declared import built, table_spec, upstream
from pipeline.orchestration.step import Step
from pipeline.schema import PUBLISHED
from pipeline.transform.builder import Builder

TABLE_SPECS = [table_spec(table) for table in PUBLISHED]


def build(step: Step, builder: Builder) -> Iterator[dg.MaterializeResult[None]]:
    """Updates the selected tables. Tables downstream of a failed blocking check are skipped."""
    blocked: set[str] = set()
    for table in (table for table in PUBLISHED if step.is_asked_for(table.name)):
        if not blocked.isdisjoint(upstream(table)):
            blocked.add(table.name)
            step.log.warning(f"{table.name} was skipped: a blocking check of an upstream table failed")
            continue
        started = time.monotonic()
        report = builder.build(table)
        if report.line:
            step.notify(report.line)
        is_reported = bool(report.written) or step.has_to_report(table.name)
        if is_reported:
            yield built(step.opened, step.connection_with(table), report, time.monotonic() - started)
        if not step.check(table, is_reported):
            blocked.add(table.name)
    step.stop_if_a_check_failed()
