"""Rows that an earlier version wrote, with the columns that have been declared since."""

from __future__ import annotations

import pyarrow as pa

from pipeline.schema.table import Table


def with_missing_columns(table: Table, rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows with a NULL column, in its declared place, for each that may be missing and is."""
    names = rows.schema.names
    for place, column in enumerate(table.columns):
        if column.may_be_missing and column.name not in names:
            field = table.arrow_schema.field(place)
            rows = rows.add_column(place, field, pa.nulls(rows.num_rows, field.type))
    return rows
