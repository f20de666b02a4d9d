"""Pieces of SQL generated from declarations. A query or a macro refers to a piece as `{{ name }}`.

Pieces about answers are generated from `pipeline/schema/answer.py`, those about cards from `pipeline/schema/items.py`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable
from typing import Any

from pipeline.schema.answer import ANSWER, ITEM, RESULT, Field, Kind, fields_below, kept_fields, leaves, objects
from pipeline.schema.items import CARD_COLUMNS, PARSED_CARD_COLUMNS, PULL_COLUMNS, TRAITS

_PLACEHOLDER = re.compile(r"\{\{ (\w+) \}\}")
_TEXTS = (Kind.TEXT, Kind.ID)
# A plain price has at most fifteen digits, so a double represents it exactly. The cast to money rounds it.
_PLAIN_TYPES = {Kind.PRICE: "DECIMAL(16,10)", Kind.VALUE: "JSON"}
_EXACT_TYPES = {Kind.PRICE: "VARCHAR", Kind.ATTRIBUTES: "JSON"}  # kinds that may be numbers


def filled_in(sql: str) -> str:
    """The SQL with each `{{ name }}` replaced by its piece, indented like the line. Raises KeyError."""
    return _PLACEHOLDER.sub(lambda found: _pieces()[found[1]].replace("\n", f"\n{_indent(found)}"), sql)


def _indent(found: re.Match[str]) -> str:
    line = found.string[found.string.rfind("\n", 0, found.start()) + 1 : found.start()]
    return " " * (len(line) - len(line.lstrip()))


@functools.cache
def _pieces() -> dict[str, str]:
    return {**_structures(), **_keys(), **_items(), **_results(), **_attributes(), **_documented(), **_cards()}


def _structures() -> dict[str, str]:
    """The structures for `from_json` to parse answers and the entries of a list of attributes."""
    attributes = _field_of(Kind.ATTRIBUTES)
    return {
        "plain_structure": _json({RESULT.key: _plain(RESULT)}),
        "checked_structure": _json({RESULT.key: _checked(RESULT)}),
        "exact_structure": _json({RESULT.key: _exact(RESULT)}),
        "attribute_structure": _json(dict.fromkeys((field.key for field in attributes.fields), "JSON")),
    }


def _plain(field: Field) -> Any:
    """The structure of a value of the documented kind."""
    if not field.fields:
        return _PLAIN_TYPES.get(field.kind, "VARCHAR")
    members = {inner.key: _plain(inner) for inner in field.fields if inner.kind is not Kind.UNREAD}
    return members if field.kind is Kind.OBJECT else [members]


def _checked(field: Field) -> Any:
    """The structure of a value of any kind: objects and items as structs, all other values as JSON."""
    if not field.fields or field.kind is Kind.ATTRIBUTES:
        return "JSON"
    members = {inner.key: _checked(inner) for inner in field.fields if inner.kind is not Kind.UNREAD}
    return members if field.kind is Kind.OBJECT else [members]


def _exact(field: Field) -> Any:
    """The structure of the values that may be numbers; None if the field has no such values."""
    if field.kind in _EXACT_TYPES:
        return _EXACT_TYPES[field.kind]
    members = {inner.key: read for inner in field.fields if (read := _exact(inner)) is not None}
    return (members if field.kind is Kind.OBJECT else [members]) if members else None


def _keys() -> dict[str, str]:
    """The keys of each kind as alternatives of the regular expression that recognizes plain answers."""
    below = {
        "text_keys": (RESULT, _TEXTS),
        "id_keys": (RESULT, (Kind.ID,)),
        "price_keys": (RESULT, (Kind.PRICE,)),
        "value_keys": (RESULT, (Kind.VALUE,)),
        "object_keys": (ITEM, (Kind.OBJECT,)),
        "items_keys": (RESULT, (Kind.ITEMS,)),
        "attributes_keys": (RESULT, (Kind.ATTRIBUTES,)),
    }
    return {
        name: "|".join(dict.fromkeys(field.key for field in fields_below(owner) if field.kind in kinds))
        for name, (owner, kinds) in below.items()
    }


def _items() -> dict[str, str]:
    """The stored members of an item `x`, for plain and for other answers, and the problems of its values."""
    kept = [(".".join(("x", *place)), field) for place, field in kept_fields(ITEM)]
    texts = [(".".join(place), field) for place, field in leaves(ITEM) if field.kind in _TEXTS]
    below = [(path.removeprefix(f"{_path(ITEM)}."), owner) for path, owner in objects() if owner.kind is Kind.OBJECT]
    return {
        "plain_item": _lines(f"'{field.key}': {_plain_value(x, field)}" for x, field in kept),
        "checked_item": _lines(f"'{field.key}': {_kept_value(x, field)}" for x, field in kept),
        "item_text_problems": _lines(f"text_problem('{path}', x.{path})" for path, _ in texts),
        "item_object_problems": _lines(
            f"CASE WHEN {_is_empty(path, owner)} THEN object_problem('{path}', document, '$.{path}') END"
            for path, owner in below
            if not path.startswith(ANSWER.key)
        ),
    }


def _plain_value(x: str, field: Field) -> str:
    return f"{x}::{field.type}" if field.kind is Kind.PRICE else x


def _kept_value(x: str, field: Field) -> str:
    if field.kind is Kind.PRICE:
        return "price"
    if field.is_struct:
        return "{" + ", ".join(f"'{inner.key}': json_text({x}.{inner.key})" for inner in field.fields) + "}"
    return f"json_text({x})"


def _is_empty(path: str, owner: Field) -> str:
    values = [".".join(("x", path, *place)) for place, _ in leaves(owner)]
    return f"coalesce({', '.join(values)}) IS NULL"


def _results() -> dict[str, str]:
    """The scalar values of `result`: as parsed from plain answers, as text from JSON, and their problems."""
    fields = [field for field in RESULT.fields if field.kind in _TEXTS]
    return {
        "result_fields": _lines(f"result.{field.key} AS {field.column}" for field in fields),
        "result_texts": _lines(f"json_text(result.{field.key}) AS {field.column}" for field in fields),
        "result_columns": ", ".join(field.column for field in fields),
        "result_problems": _lines(f"text_problem('{field.key}', result.{field.key})" for field in fields),
    }


def _attributes() -> dict[str, str]:
    """The fields that may name a trait, preferred first: of a plain attribute `a` and of a JSON entry `e`."""
    names = [field.key for field in _field_of(Kind.ATTRIBUTES).fields if field.kind is Kind.TEXT]
    return {
        "trait_names": ", ".join(f"a.{name}" for name in names),
        "trait_texts": ", ".join(f"json_text(e.{name})" for name in names),
    }


def _documented() -> dict[str, str]:
    """The documented objects of an answer, and the known keys of each."""
    return {
        "documented_objects": "\n|| ".join(f"objects_in({_extracted(path)}, '{path}')" for path, _ in objects()),
        "known_keys": "\n".join(
            f"WHEN '{path}' THEN [{_texts(field.key for field in owner.fields)}]" for path, owner in objects()
        ),
    }


def _extracted(path: str) -> str:
    if path == ANSWER.key:
        return "[answer::JSON]"
    found = f"json_extract(answer, '{path}')"
    return found if "*" in path else f"[{found}]"


def _cards() -> dict[str, str]:
    """The columns that `item_days` and `items` share, and the trait values from which they are parsed."""
    return {
        "first_traits": _lines(
            f"first_trait(value, trait, attribute_number, [{_texts(names)}]) AS {fact}"
            for fact, names in TRAITS.items()
        ),
        "pull_columns": _lines(column.name for column in PULL_COLUMNS),
        "card_columns": _lines(column.name for column in CARD_COLUMNS),
        "parsed_card_columns": _lines(column.name for column in PARSED_CARD_COLUMNS),
    }


def _field_of(kind: Kind) -> Field:
    return next(field for field in fields_below(RESULT) if field.kind is kind)


def _path(owner: Field) -> str:
    return next(path for path, field in objects() if field is owner)


def _json(structure: Any) -> str:
    return json.dumps(structure, separators=(",", ":"))


def _texts(values: Iterable[str]) -> str:
    return ", ".join(f"'{value}'" for value in values)


def _lines(expressions: Iterable[str]) -> str:
    return ",\n".join(expressions)
