"""The rows of the optional packs file."""

from __future__ import annotations

from dataclasses import asdict, astuple

import pyarrow as pa

from pipeline.sources.packs_file import read_packs
from pipeline.storage.manifest import inputs_of
from pipeline.transform.build_report import BuildReport
from pipeline.transform.context import BuildContext


def build(context: BuildContext, report: BuildReport) -> None:
    """Reads the file in every run, because users may change or remove it. The fingerprint covers its content."""
    table = report.table
    found = sorted(read_packs(context.data.current(context.data.packs_file)), key=lambda row: row.row_number)
    inputs = inputs_of(context.derivations.of(table), [astuple(row) for row in found])
    if context.is_current(table, table.name, inputs):
        report.unchanged_count += 1
        return
    rows = pa.RecordBatch.from_pylist([asdict(row) for row in found], table.arrow_schema)
    context.write(report, table.name, inputs, [rows])
