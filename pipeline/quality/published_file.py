"""Compares the published DuckDB file with the lake: row counts and exact sums of money.

If the file has a window of days, so has the comparison, and references between the tables are looked up in the file:
the checks of the tables themselves see the whole lake.
"""

from __future__ import annotations

import duckdb

from pipeline.catalog.markdown import code
from pipeline.quality.findings import Finding
from pipeline.schema import PUBLISHED
from pipeline.schema.table import MONEY, Partition, Table
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.parquet_query import quoted
from pipeline.storage.window import Window, part_of

DESCRIPTION = (
    "Every table of the DuckDB file has the row count and the sums of money of its Parquet files, and every row that a "
    "table cut by day refers to."
)


def disagreements(data: DataDirectory) -> Finding:
    """The tables that differ between the file and the lake."""
    found = []
    with connect(data) as connection:
        connection.execute(f"ATTACH '{quoted(data.warehouse)}' AS published (READ_ONLY)")
        connection.execute("USE published")
        window = Window.of_file(connection)
        if window.first_day:
            found += _dangling(connection)
        for table in PUBLISHED:
            parts = [part_of(path) for path in window.etags(data, table)]
            relations = (data.store.scan(table, parts), f"published.{table.name}")
            lake, file = (connection.execute(_totals(table, relation)).fetchone() or () for relation in relations)
            if lake != file:
                found.append(f"{table.name}: the lake has {code(_words(lake))}, the file {code(_words(file))}")
    return Finding(len(found), found)


def _dangling(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The references between tables that are cut by day with rows that are not in the file."""
    found = []
    cut = {table.name for table in PUBLISHED if table.partition is not Partition.NONE}
    for table in (table for table in PUBLISHED if table.name in cut):
        for columns, other in ((r.columns, r.table) for r in table.references if r.table in cut):
            joined = f"published.{table.name} ANTI JOIN published.{other} USING ({', '.join(columns)})"
            count = connection.execute(f"SELECT count(*) FROM {joined}").fetchone() or (0,)
            if count[0]:
                found.append(f"{table.name}: {count[0]:,} rows refer to no row of {other} in the file")
    return found


def _totals(table: Table, relation: str) -> str:
    sums = [f"sum({column.name})" for column in table.columns if column.type == MONEY]
    return f"SELECT {', '.join(['count(*)', *sums])} FROM {relation}"


def _words(totals: tuple[object, ...]) -> str:
    return ", ".join(str(total) for total in totals)
