"""The declaration of an answer reaches everything that reads one: both parses, the known keys, and the findings."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from pipeline.polling.redaction import Redaction
from pipeline.schema.answer import ANSWER, ITEM, RESULT, Field, Kind, kept_fields, leaves
from pipeline.transform import queries
from pipeline.transform.fulfilled_answers import read_results
from pipeline.transform.generated_sql import _pieces, filled_in
from tests.support import reference

ITEM_TEXTS = [place for place, field in leaves(ITEM) if field.kind in (Kind.TEXT, Kind.ID)]
RESULT_TEXTS = [field for field in RESULT.fields if field.kind is Kind.TEXT]


def value_of(field: Field, at: str = "") -> Any:
    """What belongs into the field: text that names its place, a price, and the like for all that is in it."""
    place = f"{at}.{field.key}"
    if field.fields:
        members = {inner.key: value_of(inner, place) for inner in field.fields if inner.kind is not Kind.UNREAD}
        return members if field.kind is Kind.OBJECT else [members]
    return 1.25 if field.kind is Kind.PRICE else place


def read(*results: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of `fulfilled_results` of answers with these results, in their order."""
    answers = []
    for number, result in enumerate(results):
        session_id = f"s{number:03}"
        body = json.dumps({"result": {"session_id": session_id, **result}}).encode()
        answers.append(
            {
                "session_id": session_id,
                "received_at": datetime(2026, 1, 2, tzinfo=UTC),
                "body": body,
                "body_sha256": hashlib.sha256(body).hexdigest(),
                "outcome": "fulfilled",
                "detail": None,
                "has_repeated_keys": False,
            }
        )
    with duckdb.connect() as connection:
        connection.execute(queries.macros())
        types = dict.fromkeys(answers[0], pa.string()) | {"body": pa.binary(), "received_at": pa.timestamp("us", "UTC")}
        types |= {"has_repeated_keys": pa.bool_()}
        connection.register("status_responses", pa.Table.from_pylist(answers, pa.schema(types)))
        rows = [row for batch in read_results(connection, Redaction(None)) for row in batch.to_pylist()]
    rows.sort(key=lambda row: str(row["session_id"]))
    assert [row["session_id"] for row in rows] == [answer["session_id"] for answer in answers]
    return rows


def replaced(place: tuple[str, ...], value: object) -> dict[str, Any]:
    """The result with another value in a place of its item."""
    result: dict[str, Any] = value_of(RESULT)
    owner = result[ITEM.key][0]
    for key in place[:-1]:
        owner = owner[key]
    owner[place[-1]] = value
    return result


def test_the_declared_keys_are_those_that_the_reference_reader_knows():
    with duckdb.connect() as connection:
        connection.execute(queries.macros())
        sql = "SELECT unnest(documented_objects($1)) AS found"
        answer = json.dumps({field.key: value_of(field, "$") for field in ANSWER.fields if field is RESULT})
        paths = [path for (path,) in connection.execute(f"SELECT found.parent FROM ({sql})", [answer]).fetchall()]
        assert set(paths) == reference.KNOWN.keys()
        for path in paths:
            keys = json.dumps(dict.fromkeys([*reference.KNOWN[path], "undocumented"], 1))
            assert connection.execute("SELECT unknown_keys($1::JSON, $2)", [keys, path]).fetchone() == (
                ["undocumented"],
            )


def test_every_declared_field_is_read_from_a_plain_answer_and_from_another():
    plain, other = read(value_of(RESULT), value_of(RESULT) | {"user_id": 5})
    assert plain["problems"] is None
    assert [problem["field"] for problem in other["problems"]] == ["user_id"]
    for row in (plain, other):
        (item,) = row["items"]
        assert list(item) == [field.key for _, field in kept_fields(ITEM)]
        for place, field in kept_fields(ITEM):
            expected: Any = value_of(field, "." + ".".join(("result", ITEM.key, *place[:-1])))
            assert item[field.key] == expected
        assert row["attributes"][0][0]["trait_type"] == ".result.nfts.content.metadata.attributes.trait_type"
    for field in RESULT_TEXTS:
        assert plain[field.column] == f".result.{field.key}"
        assert other[field.column] == (None if field.key == "user_id" else f".result.{field.key}")


OTHER_KINDS: list[Any] = [5, True, {}, []]


@pytest.fixture(scope="module")
def rows_with_other_kinds() -> dict[tuple[tuple[str, ...], str], dict[str, Any]]:
    """By the place of a declared text and the JSON there, the row of an answer that has it there."""
    cases = [(place, value) for place in ITEM_TEXTS for value in OTHER_KINDS]
    rows = read(*(replaced(place, value) for place, value in cases))
    return {(place, json.dumps(value)): row for (place, value), row in zip(cases, rows, strict=True)}


@pytest.mark.parametrize("place", ITEM_TEXTS, ids=".".join)
@pytest.mark.parametrize("value", OTHER_KINDS, ids=json.dumps)
def test_another_kind_of_value_in_a_declared_text_is_found_and_reads_as_null(place, value, rows_with_other_kinds):
    row = rows_with_other_kinds[place, json.dumps(value)]
    (problem,) = row["problems"]
    assert (problem["rule"], problem["field"], problem["pull_number"]) == ("unreadable_field", ".".join(place), 1)
    (item,) = row["items"]
    owner = item[place[-2]] if len(place) > 1 and place[-2] in item else item
    assert owner[place[-1]] is None


def test_sql_names_every_piece_and_no_other():
    named = {
        name
        for path in queries._SQL.glob("*.sql")
        for name in re.findall(r"\{\{ (\w+) \}\}", path.read_text(encoding="utf-8"))
    }
    assert named == _pieces().keys()


def test_a_piece_is_indented_like_the_line_that_names_it():
    lines = filled_in("SELECT\n    {{ pull_columns }},\n    1").splitlines()
    assert len(lines) > 3
    assert all(line.startswith("    ") and not line.startswith("     ") for line in lines[1:])
    with pytest.raises(KeyError):
        filled_in("{{ no_piece }}")
