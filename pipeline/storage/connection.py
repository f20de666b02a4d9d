"""DuckDB connections for queries on the data directory, with limits set and times in UTC."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import duckdb
import pyarrow as pa

from pipeline.storage.error_translation import explain
from pipeline.storage.layout import Layout
from pipeline.storage.spill import spill_folder

ROWS_A_BATCH = 20_480  # small enough to write one batch while the next is derived


@contextlib.contextmanager
def connect(data: Layout) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory DuckDB connection that spills into its own folder beside the data, which the block's end removes.

    Within the block, a query that fails because of the disk, of the memory limit or of a damaged file raises a
    StoreError.
    """
    with spill_folder(data.scratch) as spill:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": data.memory_limit,
            "temp_directory": str(spill),
        }
        with duckdb.connect(config=config) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("SET enable_progress_bar = false")  # the command line decides about output
            # Row order is part of a table's content, and some queries sort rows before they unnest them.
            connection.execute("SET preserve_insertion_order = true")
            with explained(data):
                yield connection


@contextlib.contextmanager
def explained(data: Layout) -> Iterator[None]:
    """Within the block, a query that fails because of the disk, of the memory limit or of a damaged file raises a
    StoreError.

    For a connection that outlives the block; `connect` does the same for its own connections.
    """
    try:
        yield
    # Failures during streaming arrive as Arrow errors.
    except (duckdb.Error, OSError, pa.ArrowException) as error:
        trouble = explain(error, data)
        if trouble is None:
            raise
        raise trouble from error


def stream(connection: duckdb.DuckDBPyConnection, sql: str) -> Iterator[pa.RecordBatch]:
    """A query's rows in batches. The query runs when the first batch is requested."""
    yield from connection.execute(sql).to_arrow_reader(ROWS_A_BATCH)
