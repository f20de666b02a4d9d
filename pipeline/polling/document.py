"""Parses the body of an answer as JSON. What it accepts, the view `answers` of the tables can read as well.

An endpoint's answer that was taken for final is never asked for again, and raw is never changed. A body that SQL cannot
read would stop every later build, so no answer is final unless this parser accepts it.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import msgspec

_ESCAPED_COLON = b"\\u003"  # prefix of the escape of a colon and of some other characters


class Repeating(dict[str, Any]):
    """A document with an object in which keys are repeated; the last one counts. `repeated` are its own, if any are."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        counts = Counter(key for key, _ in pairs)
        self.repeated = {key for key, count in counts.items() if count > 1}


def parse(body: bytes) -> dict[str, Any] | str:
    """The body as a JSON object, or why it is none. With repeated keys it is a `Repeating`."""
    document = _parse_fast(body)
    return document if isinstance(document, dict) else _parse_any(body)


def _parse_fast(body: bytes) -> Any:
    """The document of a body without repeated keys; None if this fast test cannot decide.

    Re-encoding an object drops repeated keys and with them colons. The number of colons inside strings stays the same,
    unless one was written as an escape.
    """
    if _ESCAPED_COLON in body:
        return None
    try:
        document = _FAST.decode(body)
    except (ValueError, RecursionError):
        return None
    return document if msgspec.json.encode(document).count(b":") == body.count(b":") else None


def _parse_any(body: bytes) -> dict[str, Any] | str:
    try:
        text = body.decode("utf-8-sig")
        try:
            document = _JSON.decode(text)
        except _RepeatedKeyError:
            document = _JSON_WITH_REPEATED_KEYS.decode(text)
    except UnicodeDecodeError:
        return "the body is not UTF-8"
    except RecursionError:
        return "the body is nested too deeply"
    except ValueError:
        return "the body is not JSON"
    return document if isinstance(document, dict) else "the body is not a JSON object"


class _RepeatedKeyError(Exception):
    """An object has a repeated key."""


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _RepeatedKeyError
    return found


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


_FAST = msgspec.json.Decoder()
# Integers as floats: no rule depends on their value, and Python refuses very long integers.
_JSON = json.JSONDecoder(parse_int=float, parse_constant=_refuse_constant, object_pairs_hook=_without_repeated_keys)
_JSON_WITH_REPEATED_KEYS = json.JSONDecoder(
    parse_int=float, parse_constant=_refuse_constant, object_pairs_hook=Repeating
)
