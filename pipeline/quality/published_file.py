"""Compares the published DuckDB file with the lake: row counts and exact sums of money."""

from __future__ import annotations

from pipeline.catalog.markdown import code
from pipeline.quality.findings import Finding
from pipeline.schema import PUBLISHED
from pipeline.schema.table import MONEY, Table
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.parquet_query import quoted

DESCRIPTION = "Every table of the DuckDB file has the row count and the sums of money of its Parquet files."


def disagreements(data: DataDirectory) -> Finding:
    """The tables that differ between the file and the lake."""
    found = []
    with connect(data) as connection:
        connection.execute(f"ATTACH '{quoted(data.warehouse)}' AS published (READ_ONLY)")
        for table in PUBLISHED:
            relations = (data.store.scan(table), f"published.{table.name}")
            lake, file = (connection.execute(_totals(table, relation)).fetchone() or () for relation in relations)
            if lake != file:
                found.append(f"{table.name}: the lake has {code(_words(lake))}, the file {code(_words(file))}")
    return Finding(len(found), found)


def _totals(table: Table, relation: str) -> str:
    sums = [f"sum({column.name})" for column in table.columns if column.type == MONEY]
    return f"SELECT {', '.join(['count(*)', *sums])} FROM {relation}"


def _words(totals: tuple[object, ...]) -> str:
    return ", ".join(str(total) for total in totals)
