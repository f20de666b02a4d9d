"""A plain reader of fulfilled answers, independent of the SQL: the same rules, one record at a time."""

from __future__ import annotations

import json
import re
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

NAMES = ("trait_type", "traitType", "key", "name")


class Number(str):
    """A JSON number as it was written."""


def load(body: bytes) -> Any:
    return json.loads(body, parse_int=Number, parse_float=Number)


def text(value: Any) -> str | None:
    is_text = isinstance(value, str) and not isinstance(value, Number)
    if not is_text or not value.replace("\x00", "").strip():
        return None
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def member(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def price(value: Any) -> Decimal | None:
    if not isinstance(value, str):
        return None
    try:
        number = Decimal(value.strip())
    except InvalidOperation:
        return None
    if "_" in value or not number.is_finite() or not 0 <= number < Decimal(10) ** 11:
        return None
    return number.quantize(Decimal("0.0001"), ROUND_HALF_UP)


def pulls(body: bytes) -> list[dict[str, Any]]:
    """What `pulls` should say of each item, as far as the answer decides it."""
    found = []
    for number, item in enumerate(load(body)["result"]["nfts"], 1):
        metadata = member(member(item, "content"), "metadata")
        links = member(member(item, "content"), "links")
        kind = member(item, "type")
        mint = text(member(item, "mint_address"))
        found.append(
            {
                "pull_number": number,
                "item_id": text(member(item, "id")),
                "item_type": kind if isinstance(kind, str) and not isinstance(kind, Number) else None,
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
    for pull_number, item in enumerate(load(body)["result"]["nfts"], 1):
        given = member(member(member(item, "content"), "metadata"), "attributes")
        if isinstance(given, dict):
            pairs = list(given.items())
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


def _trait(entry: dict[str, Any]) -> str | None:
    named = (entry.get(name) for name in NAMES)
    return next((n for n in named if isinstance(n, str) and not isinstance(n, Number)), None)


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    for kind, types in (("number", Number), ("boolean", bool), ("string", str), ("object", dict), ("array", list)):
        if isinstance(value, types):
            return kind
    raise AssertionError(value)


def _plain(value: Any) -> Any:
    """Numbers back from their text, so that a nested value can be compared as JSON."""
    if isinstance(value, Number):
        return json.loads(value)
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _value_text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and not isinstance(value, Number):
        return value
    return json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False)


def _number(value: Any) -> float | None:
    if isinstance(value, Number):
        return float(value)
    if not isinstance(value, str):
        return None
    bare = re.sub(r"[$€£¥₽\s]", "", value)
    if not re.fullmatch(r"[+-]*(\d{1,3}(,\d{3})+|\d+)?(\.\d*)?([eE][+-]?\d+)?", bare) or not re.search(r"\d", bare):
        return None
    return float(bare.replace(",", ""))
