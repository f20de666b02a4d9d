"""The schemas of what commands print follow from the types and the queries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

import jsonschema
import pytest

from docs.json_schemas import schema_of, trace_schema
from pipeline.schema.staging import PURCHASES


@dataclass(frozen=True)
class Inner:
    kind: Literal["a", "b"]
    day: date


@dataclass(frozen=True)
class Outer:
    count: int
    at: datetime | None
    inner: list[Inner]


def test_a_type_has_the_schema_of_what_it_prints():
    assert schema_of(Outer) == {
        "type": "object",
        "additionalProperties": False,
        "required": ["count", "at", "inner"],
        "properties": {
            "count": {"type": "integer", "minimum": 0},
            "at": {"anyOf": [{"$ref": "#/$defs/time"}, {"type": "null"}]},
            "inner": {
                "type": "array",
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["kind", "day"],
                    "properties": {"kind": {"enum": ["a", "b"]}, "day": {"$ref": "#/$defs/day"}},
                },
            },
        },
    }


@pytest.mark.parametrize("wrong", [{"kind": "c", "day": "2026-01-01"}, {"kind": "a"}, {"kind": "a", "day": 1}])
def test_what_the_type_does_not_allow_is_refused(wrong):
    schema: dict[str, Any] = schema_of(Inner) | {"$defs": {"day": {"type": "string"}}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema)


def test_a_type_without_a_schema_is_refused():
    with pytest.raises(TypeError, match="complex"):
        schema_of(complex)


def test_a_trace_has_what_its_queries_give_with_the_declared_values():
    properties = trace_schema()["properties"]
    assert list(properties) == ["session_id", "submitted", "polled", "purchase", "pulls", "sold_back", "issues"]
    polled = properties["polled"]["items"]["properties"]
    assert "malformed" in polled["outcome"]["enum"]
    assert polled["status"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    purchase = properties["purchase"]["items"]["properties"]
    assert set(purchase) == {column.name for column in PURCHASES.columns}
    assert purchase["session_id"] == {"type": "string"}
