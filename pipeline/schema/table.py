"""What a table and a column are. The tables themselves are declared in `raw`, `staging` and `marts`."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import Enum

import duckdb
import pyarrow as pa

MONEY = "DECIMAL(18,4)"
TIME = "TIMESTAMP WITH TIME ZONE"


class Zone(Enum):
    """Where a table is kept: verbatim input, parsed intermediates, or the published lake."""

    RAW = "raw"
    STAGING = "staging"
    LAKE = "lake"


class Partition(Enum):
    """What a table's objects are cut by: nothing, or a UTC day."""

    NONE = "none"
    OBSERVED = "day on which the answer came"
    SUBMITTED = "day on which the session was first seen"


@dataclass(frozen=True)
class Column:
    """One column: its DuckDB type, its meaning, and whether it is part of the key or may be NULL.

    A column may be NULL unless it is said to be otherwise, a key's may not unless it is said that it may.
    """

    name: str
    type: str
    description: str
    key: bool = False
    nullable: bool | None = None

    @property
    def is_required(self) -> bool:
        return self.key if self.nullable is None else not self.nullable


@dataclass(frozen=True)
class Table:
    """One table: its grain, columns, and the tables that its SQL reads.

    With `reads_answer_text` the SQL also finds `answers`, the JSON text of a day's answers.
    """

    name: str
    grain: str
    columns: tuple[Column, ...]
    zone: Zone = Zone.LAKE
    group: str = ""
    partition: Partition = Partition.NONE
    sources: tuple[str, ...] = ()
    reads_answer_text: bool = False

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns if c.key)

    @property
    def is_asset(self) -> bool:
        """Whether users see the table in the lineage; the others are steps inside a table's derivation."""
        return bool(self.group)

    @functools.cached_property
    def arrow_schema(self) -> pa.Schema:
        """The Parquet schema: DuckDB's own mapping of the declared types, with nullability and descriptions."""
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            nulls = ", ".join(f'NULL::{c.type} AS "{c.name}"' for c in self.columns)
            types = connection.execute(f"SELECT {nulls}").to_arrow_table().schema
        return pa.schema(
            pa.field(c.name, types.field(c.name).type, not c.is_required, {"description": c.description})
            for c in self.columns
        )
