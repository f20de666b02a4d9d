"""Any JSON in any place of an answer: no build fails, no pull is lost, and every cell is what the reference reads."""

from __future__ import annotations

import contextlib
import json
import math
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from pipeline.polling.answers import Answer, Meaning, Outcome, interpret
from pipeline.quality.checker import CHECKS
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.settings import Settings
from pipeline.steps import Workspace
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.raw_log import Response, ResponseLog
from pipeline.transform.queries import macros
from tests.support import reference
from tests.support.workspace import drop, findings, records, rows

pytestmark = [pytest.mark.timeout(280), pytest.mark.one_python]

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MICROSECONDS = 1_000_000

# Fragments of JSON are text: only so can a key come twice, or a number have digits that no machine holds.

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


ORDINARY = (
    '{"result":{"session_id":SESSION,"user_id":"u","public_id":"p","tx_hash":"t","nfts":[{"id":"plain","type":"enft",'
    '"buyback_price":1.25,"mint_address":"plain","content":{"metadata":{"name":"Plain","image":"i","attributes":'
    '[{"trait_type":"Set","value":"Base"}]}}}]}}'
)


@contextlib.contextmanager
def tables_of(answers: dict[str, bytes]) -> Iterator[tuple[Workspace, dict[str, Meaning]]]:
    """A workspace whose sessions were answered so, with all its tables, and what each answer means."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace(Settings.load(), DataDirectory(Path(folder)))
        drop(workspace, "ids.csv", "session_id,pack_id,price_usd\n" + "".join(f"{s},p,10\n" for s in answers))
        workspace.take_in()
        log = ResponseLog(workspace.data, STATUS_RESPONSES, NOW)
        meanings = {s: interpret(s, Answer(200, {}, body)) for s, body in answers.items()}
        at = int(NOW.timestamp()) * MICROSECONDS
        for number, (session_id, body) in enumerate(answers.items()):
            meaning = meanings[session_id]
            moment = at + number * MICROSECONDS
            log.append(Response(session_id, moment, moment + 1, 200, "application/json", body, *meaning))
        log.close()
        workspace.publish()
        yield workspace, meanings


def by_session(workspace: Workspace, sql: str) -> dict[str, list[dict[str, Any]]]:
    """Rows by their session, in their order."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in records(workspace, sql):
        found.setdefault(row.pop("session_id"), []).append(row)
    return found


def assert_tables_agree_with_the_reference(workspace: Workspace, answers: dict[str, bytes]) -> None:
    """Of each fulfilled answer, the tables have what the reference reads, cell by cell, and nothing else."""
    pulls = by_session(
        workspace,
        "SELECT session_id, pull_number, item_id, item_type, buyback_price_usd, mint_address, collection_address, "
        "token_standard, is_on_chain, name, image_url, back_image_url FROM pulls ORDER BY session_id, pull_number",
    )
    attributes = by_session(
        workspace,
        "SELECT session_id, pull_number, attribute_number, trait_type, value, value_type, value_number "
        "FROM item_attributes ORDER BY ALL",
    )
    purchases = by_session(
        workspace,
        "SELECT session_id, user_id, public_id, tx_hash, is_sandbox, pull_count, buyback_value_usd "
        "FROM purchases WHERE status = 'fulfilled'",
    )
    issues = by_session(
        workspace,
        "SELECT session_id, rule, table_name, pull_number, field FROM data_issues "
        "WHERE session_id IS NOT NULL AND rule <> 'malformed_answer'",
    )
    assert purchases.keys() == pulls.keys() == answers.keys()
    assert issues.keys() | attributes.keys() <= answers.keys()
    for session_id, body in answers.items():
        assert purchases[session_id] == [reference.purchase(body)], body
        assert pulls[session_id] == reference.pulls(body), body
        assert _comparable(attributes.get(session_id, [])) == _comparable(reference.attributes(body)), body
        found = Counter(tuple(issue.values()) for issue in issues.get(session_id, []))
        assert found == Counter(reference.findings(body)), body


def assert_unknown_fields_agree_with_the_reference(workspace: Workspace, bodies: list[bytes]) -> None:
    expected = sum((reference.unknown_fields(body) for body in bodies), Counter())
    found = records(workspace, "SELECT field, detail FROM data_issues WHERE rule = 'unknown_field'")
    assert {_place(row["field"]): int(row["detail"].split()[0]) for row in found} == expected


def assert_drift_is_counted_as_the_reference_counts_it(workspace: Workspace, answers: dict[str, bytes]) -> None:
    """One row a changed kind of value and one a new item type, with how often each came."""
    unreadable: Counter[str] = Counter()
    types: Counter[str] = Counter()
    for body in answers.values():
        unreadable += Counter(field for rule, _, _, field in reference.findings(body) if rule == "unreadable_field")
        types += Counter(pull["item_type"] for pull in reference.pulls(body))
    for rule, column, expected in (("changed_type", "field", unreadable), ("new_item_type", "raw_value", types)):
        counted: Counter[str] = Counter()
        for row in records(workspace, f"SELECT {column} AS name, detail FROM data_issues WHERE rule = '{rule}'"):
            counted[row["name"]] += int(row["detail"].split()[0])
        documented = {None, "enft", "ebay", "fanatics", "alt", "external"}
        assert counted == Counter({k[:200]: n for k, n in expected.items() if k not in documented}), rule


def _place(path: str) -> tuple[str, str]:
    """The path of the object, and the field in it."""
    if path.endswith("]"):
        parent, _, name = path.partition('["')
        return parent, json.loads(f'"{name[:-1]}')
    parent, _, name = path.rpartition(".")
    return parent, name


def _comparable(attributes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Numbers, objects and arrays as what their text means: the tables need not keep how it was written."""
    return [
        a | {"value": reference.comparable(a["value"])} if a["value_type"] in ("number", "object", "array") else a
        for a in attributes
    ]


def assert_the_neighbours_are_untouched(workspace: Workspace, session_ids: list[str]) -> None:
    for session_id in session_ids:
        where = f"WHERE session_id = '{session_id}'"
        assert rows(
            workspace,
            "SELECT pull_number, item_id, item_type, buyback_price_usd, mint_address, name, image_url, user_id, "
            f"pack_id, session_price_usd FROM pulls {where}",
        ) == [(1, "plain", "enft", Decimal("1.25"), "plain", "Plain", "i", "u", "p", Decimal(10))]
        assert rows(workspace, f"SELECT attribute_number, trait_type, value FROM item_attributes {where}") == [
            (1, "Set", "Base")
        ]
        assert rows(workspace, f"FROM data_issues {where}") == []


def assert_the_checks_pass(workspace: Workspace) -> None:
    found = findings(workspace.data, [check for check in CHECKS if check.is_blocking])
    assert {key: finding.examples for key, finding in found.items() if finding.offender_count} == {}


def named(group: list[str]) -> dict[str, bytes]:
    """The bodies by session, each with its session's id in it."""
    return {
        f"s{number}-\u00e9": body.replace("SESSION", f'"s{number}-\\u00e9"', 1).encode()
        for number, body in enumerate(group)
    }


def drawn_groups() -> list[list[str]]:
    """Bodies, the same in every run: five batches of 30 to 45 in a group, each between two ordinary answers.

    To build all tables costs much the same for one batch as for five.
    """
    batches: list[list[str]] = []

    @settings(
        max_examples=20,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(bodies(), min_size=30, max_size=45))
    def draw(batch: list[str]) -> None:
        batches.append(batch)

    draw()
    groups = [batches[i : i + 5] for i in range(0, len(batches), 5)]
    return [[ORDINARY, *(body for batch in group for body in (*batch, ORDINARY))] for group in groups]


def test_any_answer_reads_as_the_reference_reads_it_and_harms_no_neighbour():
    for group in drawn_groups():
        answers = named(group)
        with tables_of(answers) as (workspace, meanings):
            read = {s: answers[s] for s, meaning in meanings.items() if meaning.outcome is Outcome.FULFILLED}
            assert_tables_agree_with_the_reference(workspace, read)
            assert_unknown_fields_agree_with_the_reference(
                workspace, [answers[s] for s, meaning in meanings.items() if meaning.outcome is not Outcome.MALFORMED]
            )
            assert_drift_is_counted_as_the_reference_counts_it(workspace, read)
            neighbours = [session_id for session_id, body in zip(answers, group, strict=True) if body == ORDINARY]
            assert_the_neighbours_are_untouched(workspace, neighbours)
            assert_the_checks_pass(workspace)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.lists(numbers, min_size=1, max_size=30))
def test_a_number_as_an_attributes_value_means_as_text_what_was_sent(sent):
    given_list = array([an_object([('"value"', number)]) for number in sent])
    with duckdb.connect() as connection:
        connection.execute(macros())
        read = connection.execute(
            "SELECT a.value, a.value_type, value_number(a.value, a.value_type) "
            "FROM (SELECT unnest(attributes($1::JSON)) AS a)",
            [given_list],
        ).fetchall()
    for (value, value_type, value_number), number in zip(read, sent, strict=True):
        assert value_type == "number"
        assert reference.comparable(value) == reference.comparable(number)
        assert value_number == (float(number) if math.isfinite(float(number)) else None)
        if number.lstrip("-").isdigit():
            assert value.lstrip("-") == number.lstrip("-"), "a whole number can be an id, each digit of which counts"
