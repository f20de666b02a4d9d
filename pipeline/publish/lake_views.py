"""The catalog file `lake.duckdb`: a view of each published table over all of its Parquet objects, window or not.

A view names its objects by a pattern, so new objects are in it at once, and the file is made again only if a
declaration or the place of the lake changes. DuckDB takes a relative path as relative to the reader's working
directory, so the patterns are absolute. With a lake in an object store they are its URLs, since a working copy does not
have every object; DuckDB reads those with its extension `httpfs`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TypedDict

import duckdb

from pipeline.errors import PipelineError
from pipeline.publish import not_replaced
from pipeline.publish.building import attach_new, attachable, comments, in_one_transaction, remove, wal_of
from pipeline.schema import PUBLISHED
from pipeline.schema.table import Table
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.files import keep_access, place_of, sync
from pipeline.storage.manifest import digest
from pipeline.storage.parquet_query import parquet_pattern

_NAME = "lake_views"


class _Content(TypedDict):
    etag: str
    views: str  # a digest of their declarations


def keep_lake_views(data: DataDirectory) -> None:
    """Makes the file unless it is up to date. Opens no object. Needs the directory's lock. Raises PublishError."""
    views = {table: _view(data, table) for table in PUBLISHED}
    declared = digest([(view, table.grain, [c.meaning for c in table.columns]) for table, view in views.items()])
    record = data.records.load(_NAME, _Content)
    try:
        found = data.storage.find(data.lake_views.name)
        if record and found and record == {"etag": found.etag, "views": declared}:
            return
        _make(data, views)
        made = data.storage.find(data.lake_views.name)
        data.records.save(_NAME, {"etag": made.etag if made else "", "views": declared})
    except (duckdb.Error, OSError, PipelineError) as error:
        raise not_replaced(data.lake_views, error) from error


def _make(data: DataDirectory, views: dict[Table, str]) -> None:
    place = place_of(data.lake_views)
    building = place.with_name(".lake.duckdb.building")
    try:
        remove(building)
        with duckdb.connect() as connection, attachable(building) as attached:
            attach_new(connection, attached)
            in_one_transaction(
                connection, [statement for table, view in views.items() for statement in _creation(table, view)]
            )
            connection.execute("DETACH published")
        keep_access(building, place)
        sync(building)
        for path in {data.lake_views, place}:
            wal_of(path).unlink(missing_ok=True)
        building.replace(place)
    except BaseException:
        with suppress(OSError):
            remove(building)
        raise
    data.push(data.lake_views)


def _view(data: DataDirectory, table: Table) -> str:
    columns = ", ".join(f'"{c.name}"' for c in table.columns)
    pattern = parquet_pattern(
        data.store.folder(table), data.lake_url and f"{data.lake_url}/{table.zone.value}/{table.name}"
    )
    return f"CREATE VIEW published.{table.name} AS SELECT {columns} FROM {pattern}"


def _creation(table: Table, view: str) -> list[str]:
    """The statements that create one view without reading an object, which may be in an object store.

    DuckDB resolves the functions of a view when it is created, and again by name when it is read. The macro stands in
    for `read_parquet` here alone, with the declared columns.
    """
    nulls = ", ".join(f'NULL::{c.type} AS "{c.name}"' for c in table.columns)
    parameters = "paths, hive_partitioning := 0, union_by_name := 0, binary_as_string := 0, filename := 0"
    macro = f"CREATE OR REPLACE TEMP MACRO read_parquet({parameters}) AS TABLE SELECT {nulls}"
    return [macro, view, *comments("VIEW", table)]
