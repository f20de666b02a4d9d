"""The JSON Schema of `phygitals status --json`, from the types that the command prints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pipeline.cli.status import KINDS, MAIN_TABLES, PublishedFile, Status
from pipeline.schema.staging import PURCHASES

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
