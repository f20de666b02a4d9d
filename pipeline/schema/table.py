"""The types `Table` and `Column`. The other modules of this package declare the tables, each those of one subject."""

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
    """The storage zone of a table: verbatim input, parsed intermediates, or the published lake."""

    RAW = "raw"
    STAGING = "staging"
    LAKE = "lake"


class Partition(Enum):
    """The partitioning of a table's objects: none, or by UTC day, and within large days by time."""

    NONE = "none"
    OBSERVED = "day on which the answer came"
    SUBMITTED = "day on which the session was first seen"


class Strategy(Enum):
    """How a table is built; `pipeline/transform/strategies` has a module for each."""

    WHOLE = "whole, when a source changed"
    WHOLE_IF_DIFFERENT = "whole, but kept when its rows are the same"
    BY_PART = "part by part, from the same part of its sources"
    BY_DAY = "day by day, from the parts of the same day of its sources"
    BY_PERIOD = "closed months as one part, and the days since then as another, from those of its sources"
    PURCHASES = "by day of submission, also when an answer comes later"
    PENDING = "in every run, because sessions expire"
    PACKS_FILE = "from the packs file"


@dataclass(frozen=True)
class Column:
    """One column: its DuckDB type, its meaning, and whether it is part of the key or may be NULL.

    Columns are nullable by default, key columns are not; `nullable` overrides both.
    Unless given, the unit follows from the type or from the ending of the name. If `accepted` lists
    values, the column has no others. With `may_be_missing` the objects of earlier versions may lack the column of a
    raw table; its values are NULL there.
    """

    name: str
    type: str
    description: str
    key: bool = False
    nullable: bool | None = None
    unit: str | None = None
    accepted: tuple[str, ...] = ()
    may_be_missing: bool = False

    def __post_init__(self) -> None:
        by_name = (unit for suffix, unit in _UNITS_OF_NAMES.items() if self.name.endswith(suffix))
        unit = self.unit or _UNITS_OF_TYPES.get(self.type) or next(by_name, None)
        object.__setattr__(self, "unit", unit)

    @property
    def meaning(self) -> str:
        """The description followed by the unit, for targets with one text for both."""
        return self.description + (f" ({self.unit})" if self.unit else "")

    @property
    def is_required(self) -> bool:
        return self.key if self.nullable is None else not self.nullable


@dataclass(frozen=True)
class Reference:
    """Columns whose values, unless NULL, identify a row of another table with columns of the same names."""

    columns: tuple[str, ...]
    table: str


@dataclass(frozen=True)
class Table:
    """One table: its grain, its columns, the source tables of its SQL and its references.

    With `reads_answer_text` the SQL can also read `answers`, the JSON text of a day's answers in the raw table that is
    its source. `steps` add the rows that its own SQL omits.
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
    special_strategy: Strategy | None = None

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns if c.key)

    @property
    def strategy(self) -> Strategy:
        """How the table is built: by part if it has days, else whole, unless its declaration names another way."""
        return self.special_strategy or (Strategy.WHOLE if self.partition is Partition.NONE else Strategy.BY_PART)

    @property
    def received_at(self) -> str:
        """The column of a raw table with the time at which a row was received; its UTC day is the row's part."""
        return "received_at" if self.partition is Partition.OBSERVED else "submitted_at"

    @property
    def is_asset(self) -> bool:
        """Whether the table is an asset in the lineage; other tables are intermediate steps."""
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
    # Opening a database takes longer than mapping all types.
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _field_metadata(column: Column) -> dict[str, str]:
    return {"description": column.description} | ({"unit": column.unit} if column.unit else {})
