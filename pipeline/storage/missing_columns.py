"""Adds the columns that were declared after an earlier version had written rows."""

from __future__ import annotations

import pyarrow as pa

from pipeline.schema.table import Table


def with_missing_columns(table: Table, rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows with a NULL column, at its declared position, for each missing column that may be missing."""
    names = rows.schema.names
    for place, column in enumerate(table.columns):
        if column.may_be_missing and column.name not in names:
            field = table.arrow_schema.field(place)
            rows = rows.add_column(place, field, pa.nulls(rows.num_rows, field.type))
    return rows
