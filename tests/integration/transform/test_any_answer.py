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
from tests.support.any_json import an_object, array, bodies, numbers
from tests.support.workspace import drop, findings, records, rows

pytestmark = [pytest.mark.timeout(280), pytest.mark.one_python]
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MICROSECONDS = 1_000_000

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
