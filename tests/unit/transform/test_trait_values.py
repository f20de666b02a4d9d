"""Trait values are kept as they were sent, and those of the usual kinds leave an answer to the one fast call."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from pipeline.polling.answers import Answer, Outcome, interpret
from pipeline.polling.redaction import Redaction
from pipeline.transform import fulfilled_answers
from pipeline.transform.fulfilled_answers import read_results
from pipeline.transform.queries import macros
from tests.support import payloads

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NUMBERS = [
    *("0", "1999", "9.5", "559.0", "1.10", "100.00", "0.0001", "1e5", "1E+2", "2.50e-3", "-0", "-0.0", "-3", "-1.20"),
    *("18446744073709551615", "18446744073709551616", "12345678901234567890123.50", "1e400", "123456789012345.6"),
]
TEXTS = [
    "PSA",
    "",
    "1.10",
    "true",
    '["1.10"]',
    'a "quoted" \\ one',
    "\n",
    "\x00",
    "e\u0301\u4e2d\U0001f468\u200d\U0001f469",
    '"value": 1.10, ',
]
STRANGE_ENTRY = "5"


def item(attributes: str) -> str:
    return f'{{"id":"a","buyback_price":8.50,"content":{{"metadata":{{"attributes":{attributes}}}}}}}'


def body(session_id: str, *items: str) -> bytes:
    return f'{{"result":{{"session_id":"{session_id}","nfts":[{",".join(items)}]}}}}'.encode()


def read(bodies: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    """The rows of `fulfilled_results` by session, of answers that came a second apart."""
    responses = []
    for number, (session_id, content) in enumerate(bodies.items()):
        meaning = interpret(session_id, Answer(200, {}, content))
        assert meaning.outcome is Outcome.FULFILLED
        responses.append(
            {
                "session_id": session_id,
                "received_at": NOW + timedelta(seconds=number),
                "body": content,
                "body_sha256": hashlib.sha256(content).hexdigest(),
                "outcome": "fulfilled",
                "detail": meaning.detail,
                "has_repeated_keys": meaning.has_repeated_keys,
            }
        )
    with duckdb.connect() as connection:
        connection.execute(macros())
        names = list(responses[0])
        types = dict.fromkeys(names, pa.string()) | {"body": pa.binary(), "received_at": pa.timestamp("us", "UTC")}
        types["has_repeated_keys"] = pa.bool_()
        connection.register("status_responses", pa.Table.from_pylist(responses, pa.schema(types)))
        found = [row for batch in read_results(connection, Redaction(None)) for row in batch.to_pylist()]
    assert sorted(row["session_id"] for row in found) == sorted(bodies)
    return {row["session_id"]: row for row in found}


def is_plain(row: dict[str, Any]) -> bool:
    """Whether the one call has read it: only what is read value by value has a list of findings, be it empty."""
    return row["problems"] is None


def values(row: dict[str, Any]) -> list[str | None]:
    return [attribute["value"] for attributes in row["attributes"] for attribute in attributes or []]


def kinds(row: dict[str, Any]) -> list[str | None]:
    """The kinds of the values; None where it is not noted, as of text in plain answers."""
    return [attribute["value_type"] for attributes in row["attributes"] for attribute in attributes or []]


def entries(*sent: str) -> list[str]:
    return [f'{{"trait_type": "t", "value": {value}}}' for value in sent]


@pytest.mark.parametrize("space", ["", " ", "\n\t "])
def test_numbers_booleans_and_null_are_kept_as_sent_and_leave_an_answer_plain(space):
    sent = [*NUMBERS, "true", "false", "null"]
    listed = ",".join(f'{{"trait_type":"t","value"{space}:{space}{value}{space}}}' for value in sent)
    row = read({"s": body("s", item(f"[{listed}]"))})["s"]
    assert is_plain(row)
    assert values(row) == [*NUMBERS, "true", "false", None]
    assert kinds(row) == ["number"] * len(NUMBERS) + ["boolean", "boolean", None]


def test_text_is_kept_as_sent_whatever_it_looks_like():
    row = read({"s": body("s", item(f"[{','.join(entries(*map(json.dumps, TEXTS), '1.10'))}]"))})["s"]
    assert values(row) == [*TEXTS, "1.10"]
    assert kinds(row)[:-1] in ([None] * len(TEXTS), ["string"] * len(TEXTS))
    assert kinds(row)[-1] == "number"


@pytest.mark.parametrize("form", ["list", "object"])
def test_a_strange_answer_keeps_the_digits_of_numbers_as_well(form):
    sent = [*NUMBERS, *map(json.dumps, TEXTS), "true", "null"]
    if form == "list":
        given = f"[{','.join([STRANGE_ENTRY, *entries(*sent)])}]"
    else:
        given = "{" + ",".join(f"{json.dumps(f'{n} ' + chr(92))} : {value}" for n, value in enumerate(sent)) + "}"
    row = read({"s": body("s", item(given))})["s"]
    assert not is_plain(row)
    assert values(row) == [*NUMBERS, *TEXTS, "true", None]
    assert kinds(row) == ["number"] * len(NUMBERS) + ["string"] * len(TEXTS) + ["boolean", "null"]


@pytest.mark.parametrize(
    "value", ['{"centering":9.5}', '["1.10"]', "[]", "{}", '"\\u0041"', '{"trait_type":"inner","value":1}']
)
def test_an_object_a_list_or_escaped_letters_as_a_value_are_read_with_care(value):
    row = read({"s": body("s", item(f"[{entries(value)[0]}]"))})["s"]
    assert not is_plain(row)


def test_strange_answers_are_read_in_several_turns_where_they_are_many(monkeypatch):
    plain, strange = item(f"[{entries('1999')[0]}]"), item(f"[{STRANGE_ENTRY},{entries('1.10')[0]}]")
    bodies = {f"s{n}": body(f"s{n}", *[strange if n % 3 else plain] * 2) for n in range(30)}
    at_once = read(bodies)
    monkeypatch.setattr(fulfilled_answers, "_BYTES_AT_ONCE", 40_000)
    monkeypatch.setattr(fulfilled_answers, "_STRANGE_BYTES_AT_ONCE", 10_000)
    assert read(bodies) == at_once
    assert [is_plain(at_once[f"s{n}"]) for n in range(30)] == [n % 3 == 0 for n in range(30)]
    assert values(at_once["s1"]) == ["1.10", "1.10"]


@pytest.mark.parametrize(("name", "most"), [("card_items", 0), ("das_items", 3), ("gap_items", 6)])
@pytest.mark.parametrize("folder", payloads.FOLDERS)
def test_of_items_few_are_read_with_care_and_the_others_keep_their_values(folder, name, most, record_property):
    items = [line.partition('"nft": ')[2][:-1] for line in payloads.lines_of(folder, name)]
    found = read({f"s{n}": body(f"s{n}", text) for n, text in enumerate(items)})
    with_care = [n for n in range(len(items)) if not is_plain(found[f"s{n}"])]
    record_property(f"items read with care, of {folder.name}/{name}", f"{len(with_care)} of {len(items)}")
    assert len(with_care) <= most
    for n in set(range(len(items))).difference(with_care):
        given = json.loads(items[n], parse_float=str, parse_int=str).get("content", {}).get("metadata", {})
        sent = [entry.get("value") for entry in given.get("attributes") or []]
        assert values(found[f"s{n}"]) == [{True: "true", False: "false"}.get(value, value) for value in sent]
