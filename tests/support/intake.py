"""Intake of single files."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.schema.raw import SESSION_SUBMISSIONS
from pipeline.steps import Workspace


def taken_in(workspace) -> list[dict]:
    """The raw rows, as they were stored."""
    from pipeline.storage.connection import connect

    with connect(workspace.data) as connection:
        found = connection.execute(f"FROM {workspace.data.store.scan(SESSION_SUBMISSIONS)} ORDER BY ALL")
        stored: list[dict] = found.to_arrow_table().to_pylist()
        return stored


def only_file(workspace):
    (report,) = workspace.take_in().files
    assert report.rows_read == report.accepted + report.duplicates + report.rejected
    return report


class Counted(list[str]):
    """Lines that count how many of them are handed out."""

    handed = 0

    def __getitem__(self, index):
        self.handed += 1
        return super().__getitem__(index)

    def __iter__(self):
        return (self[i] for i in range(len(self)))


def parquet(table: pa.Table | dict, **options) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), buffer, **options)
    return buffer.getvalue()


def ids(workspace: Workspace) -> set[str]:
    return {row["session_id"] for row in taken_in(workspace) if row["rejected_reason"] is None}


def reasons(workspace: Workspace) -> list[str]:
    return [row["rejected_reason"] for row in taken_in(workspace) if row["rejected_reason"]]
