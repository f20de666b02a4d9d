"""A plain reader of fulfilled answers, independent of the SQL: the same rules, one record at a time."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

NAMES = ("trait_type", "traitType", "key", "name")
_SPACE = " \t\n\f\r"
_WILD_EXPONENT = 900_000  # beyond it only the sign matters; the decimal module knows no larger ones
KNOWN = {
    "$": {"result", "status", "error"},
    "$.result": {"session_id", "user_id", "public_id", "nfts", "tx_hash"},
    "$.result.nfts[*]": {
        *("id", "buyback_price", "mint_address", "type", "collection_address", "token_standard", "content"),
    },
    "$.result.nfts[*].content": {"metadata", "links"},
    "$.result.nfts[*].content.metadata": {"name", "image", "back_image", "attributes"},
    "$.result.nfts[*].content.links": {"image", "back_image"},
    "$.result.nfts[*].content.metadata.attributes[*]": {*NAMES, "value"},
}

Finding = tuple[str, str, int | None, str]  # rule, table_name, pull_number, field


class Number(str):
    """A JSON number as it was written."""


def load(body: bytes) -> Any:
    return json.loads(body.decode("utf-8-sig"), parse_int=Number, parse_float=Number)


def is_text(value: Any) -> bool:
    return isinstance(value, str) and not isinstance(value, Number)


def characters(value: str) -> str:
    """The text with a replacement for each lone surrogate, which is no character."""
    return re.sub("[\ud800-\udfff]", "\ufffd", value)


def verbatim(value: Any) -> str | None:
    return characters(value) if is_text(value) else None


def text(value: Any) -> str | None:
    """Text that is not blank, without NULs behind it."""
    found = verbatim(value)
    if found and any(not c.isspace() and unicodedata.category(c) != "Cc" for c in found):
        return found.rstrip("\0")
    return None


def member(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def price(value: Any) -> Decimal | None:
    if not isinstance(value, str):
        return None
    parts = re.fullmatch(r"([+-]?)([0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE]([+-]?)0*([0-9]*))?", value.strip(_SPACE))
    if not parts:
        return None
    sign, digits, exponent_sign, exponent = parts.groups()
    power = min(int((exponent or "0")[:7]), _WILD_EXPONENT)
    number = Decimal(f"{sign}{digits}e{exponent_sign or ''}{power}")
    if not 0 <= number < Decimal(10) ** 11:
        return None
    return number.quantize(Decimal("0.0001"), ROUND_HALF_UP)


def items(body: bytes) -> list[Any]:
    return list(load(body)["result"]["nfts"])


def purchase(body: bytes) -> dict[str, Any]:
    """What `purchases` should say, as far as the answer decides it."""
    result = load(body)["result"]
    prices = [price(member(item, "buyback_price")) for item in result["nfts"]]
    quoted = [p for p in prices if p is not None]
    tx_hash = text(result.get("tx_hash"))
    return {
        "user_id": text(result.get("user_id")),
        "public_id": text(result.get("public_id")),
        "tx_hash": tx_hash,
        "is_sandbox": None if tx_hash is None else tx_hash.startswith("sandbox_"),
        "pull_count": len(prices),
        "buyback_value_usd": sum(quoted) if quoted else None,
    }


def pulls(body: bytes) -> list[dict[str, Any]]:
    """What `pulls` should say of each item, as far as the answer decides it."""
    found = []
    for number, item in enumerate(items(body), 1):
        metadata = member(member(item, "content"), "metadata")
        links = member(member(item, "content"), "links")
        mint = text(member(item, "mint_address"))
        found.append(
            {
                "pull_number": number,
                "item_id": text(member(item, "id")),
                "item_type": verbatim(member(item, "type")),
                "buyback_price_usd": price(member(item, "buyback_price")),
                "mint_address": mint,
                "collection_address": text(member(item, "collection_address")),
                "token_standard": text(member(item, "token_standard")),
                "is_on_chain": mint is not None,
                "name": text(member(metadata, "name")),
                "image_url": text(member(metadata, "image")) or text(member(links, "image")),
                "back_image_url": text(member(metadata, "back_image")) or text(member(links, "back_image")),
            }
        )
    return found


def attributes(body: bytes) -> list[dict[str, Any]]:
    """What `item_attributes` should say."""
    found = []
    for pull_number, item in enumerate(items(body), 1):
        given = member(member(member(item, "content"), "metadata"), "attributes")
        if isinstance(given, dict):
            pairs = [(verbatim(trait), value) for trait, value in given.items()]
        elif isinstance(given, list):
            kept = [entry for entry in given if isinstance(entry, dict)]
            pairs = [(_trait(entry), entry.get("value")) for entry in kept]
        else:
            pairs = []
        for number, (trait, value) in enumerate(pairs, 1):
            found.append(
                {
                    "pull_number": pull_number,
                    "attribute_number": number,
                    "trait_type": trait,
                    "value": _value_text(value),
                    "value_type": _kind(value),
                    "value_number": _number(value),
                }
            )
    return found


def findings(body: bytes) -> list[Finding]:
    """The findings that `data_issues` should have of the answer, beside the unknown fields."""
    result = load(body)["result"]
    found: list[Finding] = [
        ("unreadable_field", "purchases", None, field)
        for field in ("user_id", "public_id", "tx_hash")
        if not _is_text_or_null(result.get(field))
    ]
    for index, item in enumerate(result["nfts"]):
        found += [(rule, _table(field), index + 1, field) for rule, field in _item_findings(index, item)]
    return found


def unknown_fields(body: bytes) -> Counter[tuple[str, str]]:
    """How often each field occurs that the API's reference page does not know, by the path of its object."""
    return Counter(
        (parent, characters(key))
        for parent, value in _levels(load(body))
        if isinstance(value, dict)
        for key in value
        if key not in KNOWN[parent]
    )


def comparable(value: str) -> Any:
    """A JSON text as something that equals another of the same meaning: all numbers are doubles."""
    return json.loads(value, parse_int=float)


def _item_findings(index: int, item: Any) -> list[tuple[str, str]]:
    """Rule and field of each finding about an item."""
    found = []
    quote = member(item, "buyback_price")
    if quote is not None and price(quote) is None:
        found.append(("unreadable_price", "buyback_price"))
    identity = member(item, "id")
    if identity is None or (is_text(identity) and text(identity) is None):
        found.append(("missing_item_id", "id"))
    content = member(item, "content")
    metadata, links = member(content, "metadata"), member(content, "links")
    for field, value in ((f"nfts[{index}]", item), ("content", content), ("metadata", metadata), ("links", links)):
        if value is not None and not isinstance(value, dict):
            found.append(("unreadable_field", f"content.{field}" if field in ("metadata", "links") else field))
    for prefix, owner, fields in (
        ("", item, ("id", "type", "mint_address", "collection_address", "token_standard")),
        ("content.metadata.", metadata, ("name", "image", "back_image")),
        ("content.links.", links, ("image", "back_image")),
    ):
        found += [("unreadable_field", prefix + f) for f in fields if not _is_text_or_null(member(owner, f))]
    given = member(metadata, "attributes")
    if isinstance(given, list):
        odd = [i for i, entry in enumerate(given) if not isinstance(entry, dict)]
        found += [("attribute_not_object", f"content.metadata.attributes[{i}]") for i in odd]
    elif given is not None and not isinstance(given, dict):
        found.append(("unreadable_field", "content.metadata.attributes"))
    return found


def _levels(document: Any) -> list[tuple[str, Any]]:
    """The places whose fields are known, each with the values that stand there."""
    result = member(document, "result")
    nfts = _entries(member(result, "nfts"))
    contents = [member(item, "content") for item in nfts]
    metadata = [member(content, "metadata") for content in contents]
    levels = {
        "$": [document],
        "$.result": [result],
        "$.result.nfts[*]": nfts,
        "$.result.nfts[*].content": contents,
        "$.result.nfts[*].content.metadata": metadata,
        "$.result.nfts[*].content.links": [member(content, "links") for content in contents],
        "$.result.nfts[*].content.metadata.attributes[*]": [
            entry for m in metadata for entry in _entries(member(m, "attributes"))
        ],
    }
    return [(parent, value) for parent, values in levels.items() for value in values]


def _entries(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_text_or_null(value: Any) -> bool:
    return value is None or is_text(value)


def _table(field: str) -> str:
    return "item_attributes" if field.startswith("content.metadata.attributes") else "pulls"


def _trait(entry: dict[str, Any]) -> str | None:
    named = (verbatim(entry.get(name)) for name in NAMES)
    return next((n for n in named if n is not None), None)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    for kind, types in (("number", Number), ("boolean", bool), ("string", str), ("object", dict), ("array", list)):
        if isinstance(value, types):
            return kind
    raise AssertionError(value)


def _value_text(value: Any) -> str | None:
    if value is None or is_text(value):
        return verbatim(value)
    pieces: list[str] = []
    _write(value, pieces)
    return "".join(pieces)


def _write(value: Any, pieces: list[str]) -> None:
    if isinstance(value, Number):
        pieces.append(value)
    elif isinstance(value, dict):
        for number, (key, inner) in enumerate(value.items()):
            pieces.append(("," if number else "{") + json.dumps(characters(key)) + ":")
            _write(inner, pieces)
        pieces.append("}" if value else "{}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            pieces.append("," if number else "[")
            _write(inner, pieces)
        pieces.append("]" if value else "[]")
    else:
        pieces.append(json.dumps(characters(value) if isinstance(value, str) else value))


def _number(value: Any) -> float | None:
    if isinstance(value, Number):
        return _finite(value)
    if not isinstance(value, str):
        return None
    bare = value.strip(_SPACE)
    if bare and _is_currency(bare[-1]):
        bare = bare[:-1].rstrip(_SPACE)
    sign = bare[:1] if bare[:1] in ("+", "-") else ""
    bare = bare[len(sign) :].lstrip(_SPACE)
    if bare and _is_currency(bare[0]):
        bare = bare[1:].lstrip(_SPACE)
        if not sign and bare[:1] in ("+", "-"):
            sign, bare = bare[0], bare[1:]
    if not re.fullmatch(r"([0-9]{1,3}(,[0-9]{3})+|[0-9]+)?(\.[0-9]*)?([eE][+-]?[0-9]+)?", bare):
        return None
    return _finite(sign + bare.replace(",", ""))


def _finite(number: str) -> float | None:
    try:
        found = float(number)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _is_currency(character: str) -> bool:
    return unicodedata.category(character) == "Sc"
