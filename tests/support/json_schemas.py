"""The schemas of docs/reference/json-output.md, and output that is compared with them."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import jsonschema

from pipeline.settings import PROJECT_ROOT

_DOCUMENT = (PROJECT_ROOT / "docs" / "reference" / "json-output.md").read_text(encoding="utf-8")
SCHEMAS: dict[str, dict[str, Any]] = {
    schema["title"]: schema for schema in map(json.loads, re.findall(r"```json\n(.*?)```", _DOCUMENT, re.DOTALL))
}


def described(output: str, title: str) -> dict[str, Any]:
    """The object that a command printed, which the schema of that title describes; decimals are exact."""
    (line,) = output.splitlines()
    validator = jsonschema.Draft202012Validator
    validator.check_schema(SCHEMAS[title])
    validator(SCHEMAS[title]).validate(json.loads(line))
    read: dict[str, Any] = json.loads(line, parse_float=Decimal)
    return read
