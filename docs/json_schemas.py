"""The JSON Schemas of `phygitals status --json` and `trace --json`, from the types and queries that they print."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import duckdb

from pipeline.catalog.trace import CHAPTERS, key_of
from pipeline.cli.status import KINDS, MAIN_TABLES, PublishedFile, Status
from pipeline.schema import PUBLISHED, TABLES
from pipeline.schema.raw import SESSION_SUBMISSIONS, STATUS_RESPONSES
from pipeline.schema.staging import PURCHASES
from pipeline.schema.table import Column

Schema = dict[str, Any]

_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z"
_OF_TYPES: Mapping[type, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer", "minimum": 0},
    float: {"type": "number", "minimum": 0},
    datetime: {"$ref": "#/$defs/time"},
    date: {"$ref": "#/$defs/day"},
}
_DEFINITIONS = {
    "day": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"},
    "time": {"type": "string", "pattern": f"^{_TIME}$"},
}
_STATUSES = next(column.accepted for column in PURCHASES.columns if column.name == "status")


def _closed(properties: Mapping[str, Schema]) -> Schema:
    """An object that has all of these properties and no other."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": dict(properties),
    }


def _counts(names: tuple[str, ...]) -> Schema:
    """An object with a count under each of the names."""
    return _closed(dict.fromkeys(names, _OF_TYPES[int]))


# Dictionaries, whose types do not have their keys.
_DICTIONARIES: Mapping[tuple[type, str], Schema] = {
    (Status, "new_files"): _counts(tuple(kind.folder for kind in KINDS)),
    (PublishedFile, "rows"): _counts(MAIN_TABLES),
    (PublishedFile, "purchases_by_status"): {
        "type": "object",
        "propertyNames": {"enum": list(_STATUSES or ())},
        "additionalProperties": _OF_TYPES[int],
    },
}


def schema_of(kind: Any) -> Schema:
    """The schema of a type's values as JSON. Raises TypeError for a type that has none."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in _OF_TYPES:
        return _OF_TYPES[kind]
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, UnionType):
        (other,) = (each for each in arguments if each is not NoneType)
        return {"anyOf": [schema_of(other), {"type": "null"}]}
    if origin in (list, tuple):
        return {"type": "array", "items": schema_of(arguments[0])}
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        names = [field.name for field in fields(kind)]
        return _closed({name: _DICTIONARIES.get((kind, name)) or schema_of(hints[name]) for name in names})
    raise TypeError(f"{kind} has no JSON schema")


def status() -> Iterator[str]:
    """The schema of the status, as a block of JSON."""
    yield "```json"
    yield json.dumps({"title": "status"} | schema_of(Status) | {"$defs": _DEFINITIONS}, indent=2)
    yield "```"


_CHAPTER_TABLES = {
    "Submitted": "session_submissions",
    "Polled": "status_responses",
    "Purchase": "purchases",
    "Pulls": "pulls",
    "Sold back": "sellbacks",
    "Issues": "data_issues",
}
_OF_DUCKDB = {
    "VARCHAR": _OF_TYPES[str],
    "BOOLEAN": {"type": "boolean"},
    "DOUBLE": {"type": "number"},
    "DATE": _OF_TYPES[date],
    "TIMESTAMP WITH TIME ZONE": _OF_TYPES[datetime],
}
# Results with another name than their column.
_RENAMED = {("Polled", "status"): "http_status"}


def _of_column(duckdb_type: str, column: Column | None) -> Schema:
    """The schema of one result of a query, by its type and the declared column that it shows.

    A result that shows no column, such as a count, is never NULL.
    """
    if column and column.accepted:
        schema: Schema = {"enum": list(column.accepted)}
    elif duckdb_type.startswith("DECIMAL"):
        schema = {"type": "number"}
    elif duckdb_type.endswith("INT") or duckdb_type == "INTEGER":
        schema = {"type": "integer"}
    else:
        schema = _OF_DUCKDB[duckdb_type]
    return schema if column is None or column.is_required else {"anyOf": [schema, {"type": "null"}]}


def trace_schema() -> Schema:
    """The schema of a trace: per chapter, rows with the results of its query."""
    properties: dict[str, Schema] = {"session_id": _OF_TYPES[str]}
    with duckdb.connect() as connection:
        for table in (SESSION_SUBMISSIONS, STATUS_RESPONSES, *PUBLISHED):
            # The origin of a row is no column of the table; the trace adds it to the answers.
            origin = ", raw_file VARCHAR, raw_row BIGINT" if table is STATUS_RESPONSES else ""
            columns = ", ".join(f"{column.name} {column.type}" for column in table.columns)
            connection.execute(f"CREATE TABLE {table.name} ({columns}{origin})")
        for title, query in CHAPTERS.items():
            columns_by_name = {column.name: column for column in TABLES[_CHAPTER_TABLES[title]].columns}
            described = connection.execute(f"DESCRIBE {query.replace('$session_id', 'NULL')}").fetchall()
            row = {
                name: _of_column(kind, columns_by_name.get(_RENAMED.get((title, name), name)))
                for name, kind, *_ in described
            }
            properties[key_of(title)] = {"type": "array", "items": _closed(row)}
    return _closed(properties)


def trace() -> Iterator[str]:
    """The schema of a trace, as a block of JSON."""
    yield "```json"
    yield json.dumps({"title": "trace"} | trace_schema() | {"$defs": _DEFINITIONS}, indent=2)
    yield "```"
