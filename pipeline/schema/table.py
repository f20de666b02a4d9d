"""What a table and a column are. The tables themselves are declared in `raw`, `staging` and `marts`."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from enum import Enum

import duckdb
import pyarrow as pa

MONEY = "DECIMAL(18,4)"
TIME = "TIMESTAMP WITH TIME ZONE"
SHARE = "share 0 to 1"

_UNITS_OF_TYPES = {MONEY: "USD", TIME: "UTC", "DATE": "UTC day"}
_UNITS_OF_NAMES = {"_seconds": "seconds", "_share": SHARE, "_rate": SHARE, "_ratio": "ratio"}


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
    The unit follows from the type or from the end of the name, where it is not said. Where `accepted` lists
    values, there are no others.
    """

    name: str
    type: str
    description: str
    key: bool = False
    nullable: bool | None = None
    unit: str | None = None
    accepted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        by_name = (unit for suffix, unit in _UNITS_OF_NAMES.items() if self.name.endswith(suffix))
        unit = self.unit or _UNITS_OF_TYPES.get(self.type) or next(by_name, None)
        object.__setattr__(self, "unit", unit)

    @property
    def meaning(self) -> str:
        """The description with the unit behind it, for where there is one text for both."""
        return self.description + (f" ({self.unit})" if self.unit else "")

    @property
    def is_required(self) -> bool:
        return self.key if self.nullable is None else not self.nullable


@dataclass(frozen=True)
class Reference:
    """Columns that, where they are set, name a row of another table, which has columns of the same names."""

    columns: tuple[str, ...]
    table: str


@dataclass(frozen=True)
class Table:
    """One table: its grain, columns, the tables that its SQL reads and those that its rows refer to.

    With `reads_answer_text` the SQL also finds `answers`, the JSON text of a day's answers. `steps` give the rows that
    its own SQL leaves out.
    """

    name: str
    grain: str
    columns: tuple[Column, ...]
    zone: Zone = Zone.LAKE
    group: str = ""
    partition: Partition = Partition.NONE
    sources: tuple[str, ...] = ()
    reads_answer_text: bool = False
    steps: tuple[Table, ...] = ()
    references: tuple[Reference, ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns if c.key)

    @property
    def is_asset(self) -> bool:
        """Whether users see the table in the lineage; the others are steps inside a table's derivation."""
        return bool(self.group)

    @functools.cached_property
    def arrow_schema(self) -> pa.Schema:
        """The Parquet schema: DuckDB's own mapping of the declared types, with nullability, descriptions and units."""
        return pa.schema(
            pa.field(c.name, _arrow_type(c.type), not c.is_required, _field_metadata(c)) for c in self.columns
        )


@functools.cache
def _arrow_type(duckdb_type: str) -> pa.DataType:
    return _type_mapper().execute(f"SELECT NULL::{duckdb_type}").to_arrow_table().schema.field(0).type


@functools.cache
def _type_mapper() -> duckdb.DuckDBPyConnection:
    # Opening a database takes longer than all the types take to be mapped.
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _field_metadata(column: Column) -> dict[str, str]:
    return {"description": column.description} | ({"unit": column.unit} if column.unit else {})
