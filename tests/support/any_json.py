"""Strategies for answers of any JSON in any place."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

ODD_TEXTS = [
    *(
        "",
        " ",
        "\x00",
        "\x0b",
        "\x7f\x85",
        "\u00a0\u2003\u3000",
        "\ufeff",
        "\u200b",
        "\u202e\u05d0\u0628",
        "a\x00b",
        "a\x00\x00",
    ),
    *("\ud800", "\udc00\ud800", "x\udbff", "\U0001f600", "\U0001f468\u200d\U0001f469", "R\u0430ydium", "e\u0301"),
    *("\\", '"', "'; --", "$1,250.00", "-\u20ac5", "\u20ac-5", "+-5", "12,34", "5 $", "1e5", "1e400", ".", "e5", "+e5"),
    *("null", "true", '{"a":1}', "[1]", '{"buyback_price": 1234567890123456.5}', "sandbox_x", "_", "\u0663"),
    "x" * 20_000,
]

ODD_NUMBERS = [
    *("-0", "-0.0", "0e5", "1e400", "-1e-400", "1e-400", "18446744073709551616", "-9223372036854775809", "0.00005"),
    *("1.00004999999999999999", "99999999999.99994999", "99999999999.99995", "99999999999.99999999999", "1E+11"),
    *("1e9223372036854775807", "1e-9223372036854775808", "1e2147483648", "1e99999999999999999999", "2.5e-4", "1e15"),
    "9" * 400,
    "1" * 2000 + "e-1995",
    "1" * 2000 + "e-99999999999999999999",
]


def quoted(text: str, is_escaped: bool) -> str:
    with contextlib.suppress(UnicodeEncodeError):
        text.encode()
        return json.dumps(text, ensure_ascii=is_escaped)
    return json.dumps(text)


digits = st.text("0123456789", min_size=1, max_size=25)
whole_numbers = digits.map(lambda d: d.lstrip("0") or "0")

numbers = st.sampled_from(ODD_NUMBERS) | st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "", "-"]),
    whole_numbers,
    st.just("") | digits.map(".{}".format),
    st.just("") | st.builds("{}{}".format, st.sampled_from(["e", "E", "e+", "e-", "E-"]), st.integers(0, 40)),
)

texts = st.sampled_from(ODD_TEXTS) | st.text(st.characters(exclude_categories=()), max_size=8)
strings = st.builds(quoted, texts, st.booleans())
leaves = st.sampled_from(["null", "true", "false", "[]", "{}"]) | strings | numbers
keys = strings | st.sampled_from(['"buyback_price"', '"name"', '"value"', '"trait_type"', '"id"', '"k"'])


def array(entries: list[str]) -> str:
    return f"[{','.join(entries)}]"


def an_object(members: list[tuple[str, str]]) -> str:
    return "{" + ",".join(f"{key} :{value}" for key, value in members) + "}"


def nested(depth: int, is_array: bool) -> str:
    return "[" * depth + "1" + "]" * depth if is_array else '{"a":' * depth + "1" + "}" * depth


anything = st.one_of(
    leaves,
    st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3).map(array) | st.lists(st.tuples(keys, inner), max_size=3).map(an_object)
        ),
        max_leaves=4,
    ),
    st.builds(nested, st.sampled_from([2, 30, 200]), st.booleans()),
)

numeric_texts = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "", " ", "\t", "+", "-", "$", "0000", "\u00a0"]),
    numbers,
    st.sampled_from(["", "", ".", "\n", " ", "%", "e1", "\x00"]),
)


@st.composite
def mostly(draw: st.DrawFn, usual: st.SearchStrategy[str], other: st.SearchStrategy[str]) -> str:
    """Four times of five the usual; `|` would give each alternative inside the other the same weight."""
    return draw(draw(st.sampled_from([usual] * 4 + [other])))


prices = mostly(numbers | st.builds(quoted, numeric_texts, st.booleans()), anything)
entry_keys = st.sampled_from(['"trait_type"', '"traitType"', '"key"', '"name"', '"value"', '"value"', '"other"'])
entry_values = mostly(leaves | st.builds(quoted, numeric_texts, st.booleans()), anything)
entries = st.lists(st.tuples(entry_keys, entry_values), max_size=3).map(an_object)

attributes = mostly(
    st.lists(mostly(entries, leaves), max_size=4).map(array)
    | st.lists(st.tuples(keys, anything), max_size=3).map(an_object),
    anything,
)

ITEM: dict[str, Any] = {
    "id": '"v1|110586049456|0"',
    "buyback_price": "8.50",
    "type": '"ebay"',
    "mint_address": "null",
    "collection_address": '"collection"',
    "token_standard": '"standard"',
    "content": {
        "metadata": {
            "name": '"a card"',
            "image": '"https://image"',
            "back_image": '"https://back"',
            "attributes": '[{"trait_type":"Grade","value":"GEM-MT 10"},{"trait_type":"Year","value":1999}]',
        },
        "links": {"image": '"https://mirror"', "back_image": '"https://mirror-back"'},
    },
}

RESULT: dict[str, Any] = {
    "session_id": "SESSION",
    "user_id": '"user"',
    "public_id": '"_P"',
    "nfts": "ITEMS",
    "tx_hash": '"hash"',
}

Place = tuple[str, ...]
FURTHER = "a further member"
Change = tuple[str, str, str]  # how, the value, and the key of a further member


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """The paths of all members, and of further ones in each object."""
    if isinstance(value, dict):
        yield (*at, FURTHER)
        for key, inner in value.items():
            yield (*at, key)
            yield from places(inner, (*at, key))


def written(value: Any, changes: dict[Place, Change], at: Place = ()) -> str:
    """The text of an object with what is changed in it."""
    if not isinstance(value, dict):
        return str(value)
    members: list[tuple[str, str]] = []
    for key, inner in value.items():
        ordinary = (f'"{key}"', written(inner, changes, (*at, key)))
        how, changed, _ = changes.get((*at, key), ("ordinary", "", ""))
        other = (f'"{key}"', changed)
        members += {
            "ordinary": [ordinary],
            "absent": [],
            "instead": [other],
            "under an escaped key": [(f'"\\u00{ord(key[0]):x}{key[1:]}"', changed)],
            "repeated before": [other, ordinary],
            "repeated after": [ordinary, other],
        }[how]
    if (*at, FURTHER) in changes:
        _, changed, key = changes[*at, FURTHER]
        members.append((key, changed))
    return an_object(members)


SPECIAL = {("buyback_price",): prices, ("content", "metadata", "attributes"): attributes}


@st.composite
def changed(draw: st.DrawFn, value: dict[str, Any], most: int) -> str:
    """The object with anything in a few of its places."""
    found = list(places(value))
    found += [place for place in found if place in SPECIAL] * len(found)
    changes: dict[Place, Change] = {}
    for place in draw(st.lists(st.sampled_from(found), max_size=most)):
        how = draw(
            st.sampled_from(["instead"] * 6 + ["under an escaped key", "absent", "repeated before", "repeated after"])
        )
        key = draw(keys) if place[-1] == FURTHER else ""
        changes[place] = (how, draw(SPECIAL.get(place, anything)), key)
    return written(value, changes)


@st.composite
def results(draw: st.DrawFn) -> str:
    """A body with a result."""
    nfts = array(draw(st.lists(mostly(changed(ITEM, 4), anything), min_size=1, max_size=2)))
    result = draw(mostly(st.just(written(RESULT, {})), changed(RESULT, 2))).replace("ITEMS", nfts, 1)
    more = draw(mostly(st.just(""), st.builds(",{}:{}".format, keys, anything)))
    return f'{{"result":{result}{more}}}'


@st.composite
def bodies(draw: st.DrawFn) -> str:
    """Mostly a result; else one that is cut off or comes with a byte order mark, or anything."""
    kind = draw(st.sampled_from(["result"] * 16 + ["marked", "cut off", "pending", "anything"]))
    if kind == "anything":
        return draw(anything)
    if kind == "pending":
        return f'{{"status":"pending",{draw(keys)}:{draw(anything)}}}'
    result = draw(results())
    return {"result": result, "marked": "\ufeff" + result, "cut off": result[:-2]}[kind]
