"""The tables, row by row and cell by cell, from answers as vendors send them and from odd ones."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import pytest

from pipeline.schema import PUBLISHED, TABLES
from pipeline.simulator.server import Reply, Simulator
from pipeline.steps import Workspace
from pipeline.storage.connection import connect
from tests.support import payloads
from tests.support.answered_tables import assert_agrees_with_the_reference, published
from tests.support.answers import answer
from tests.support.workspace import drop, records, refresh, rows

pytestmark = pytest.mark.one_python


@pytest.mark.parametrize("name", payloads.NAMES)
@pytest.mark.parametrize("folder", payloads.FOLDERS)
def test_payloads_read_as_the_reference_reads_them(folder, name, api):
    items = [json.loads(line)["nft"] for line in payloads.lines_of(folder, name)]
    chunks = [items[i : i + 25] for i in range(0, len(items), 25)]
    bodies = {f"s{i}": answer(f"s{i}", chunk) for i, chunk in enumerate(chunks)}
    workspace = published(api, bodies)
    assert_agrees_with_the_reference(workspace, bodies)


ODD_ITEMS: list[Any] = [
    {},
    None,
    "text",
    7,
    [],
    {"id": 5, "type": 1, "mint_address": {}, "content": "x"},
    {"id": "", "type": "", "name": "x"},
    {"id": "a", "content": {"metadata": 5, "links": []}},
    {
        "id": "a",
        "content": {"metadata": {"name": "  \u00a0", "image": " "}, "links": {"image": "l", "back_image": "b"}},
    },
    {"id": "a", "content": {"metadata": {"name": "nul\x00inside", "image": 3}}},
    {
        "id": "\x00",
        "content": {"metadata": {"name": "\ud800 lone", "attributes": {"a/b~\"'": 1, "": None, "k": "$1,250.00"}}},
    },
    {"id": "a", "content": {"metadata": {"name": "x" * 100_000, "attributes": []}}},
    {
        "id": "v1|5|0",
        "content": {
            "metadata": {
                "attributes": [
                    {"traitType": "T", "value": "1,500.50"},
                    {"key": "K", "value": 2**64},
                    {"name": "N", "value": 1.25},
                    {"trait_type": None, "key": "K2", "value": True},
                    {"trait_type": 5, "value": False},
                    {"trait_type": "A", "key": "B"},
                    {"value": {"a": [1, {"b": None}]}},
                    {"trait_type": "L", "value": ["x", 1]},
                    5,
                    None,
                    "five",
                    [],
                    {"trait_type": "E", "value": ""},
                    {"trait_type": "C", "value": "1.40102E+12"},
                    {"trait_type": "D", "value": "12,34"},
                    {"trait_type": "M", "value": "-€5"},
                    {"trait_type": "I", "value": "Infinity"},
                    {"trait_type": "N", "value": "nan"},
                    {"trait_type": "S", "value": "+-5"},
                    {"trait_type": "R", "value": "$-5"},
                ]
            }
        },
    },
    {"id": "a", "content": {"metadata": {"attributes": '[{"trait_type":"x","value":1}]'}}},
    {"id": "a", "content": {"metadata": {"attributes": 5}}},
    {"id": "a", "content": None},
    {"id": "\x0b\x85", "content": {"metadata": {"name": "\x7f"}, "links": {"image": "\u200b"}}},
]


def test_odd_items_lose_no_pull_and_shift_no_neighbour(api):
    bodies = {"odd": answer("odd", ODD_ITEMS), "even": answer("even", [{"id": "plain", "type": "enft"}])}
    workspace = published(api, bodies)
    assert_agrees_with_the_reference(workspace, bodies)


def test_an_answer_that_must_be_rewritten_may_be_nested_as_deeply_as_one_that_is_received(api):
    nested = '{"a":' * 400 + "[" * 400 + "]" * 400 + "}" * 400
    body = f'{{"result": {{"session_id": "s", "nfts": [{{"id": "\\ud800x", "more": {nested}}}]}}}}'.encode()
    workspace = published(api, {"s": body})
    assert rows(workspace, "SELECT item_id FROM pulls") == [("\ufffdx",)]


def test_every_unreadable_field_is_an_issue_with_its_raw_value(api):
    workspace = published(api, {"odd": answer("odd", ODD_ITEMS, user_id=7)})
    found = rows(
        workspace,
        "SELECT table_name, pull_number, field, raw_value FROM data_issues "
        "WHERE rule IN ('unreadable_field', 'attribute_not_object', 'missing_item_id') ORDER BY ALL",
    )
    assert ("purchases", None, "user_id", "7") in found
    for expected in [
        ("pulls", 1, "id", None),
        ("pulls", 3, "nfts[2]", '"text"'),
        ("pulls", 6, "id", "5"),
        ("pulls", 6, "type", "1"),
        ("pulls", 6, "mint_address", "{}"),
        ("pulls", 6, "content", '"x"'),
        ("pulls", 8, "content.metadata", "5"),
        ("pulls", 8, "content.links", "[]"),
        ("pulls", 10, "content.metadata.image", "3"),
        ("item_attributes", 13, "content.metadata.attributes[8]", "5"),
        ("item_attributes", 13, "content.metadata.attributes[9]", "null"),
        ("item_attributes", 13, "content.metadata.attributes[10]", '"five"'),
        ("item_attributes", 13, "content.metadata.attributes[11]", "[]"),
        ("item_attributes", 15, "content.metadata.attributes", "5"),
    ]:
        assert expected in found


def test_unknown_fields_are_counted_by_path(api):
    item = {
        "id": "i",
        "rarity": 1,
        "content": {
            "files": [{"uri": "x"}],
            "metadata": {"attributes": [{"trait_type": "a", "value": 1, "display_type": "x"}], "odd key": 1},
            "links": {"video": 1},
        },
    }
    workspace = published(api, {"s": answer("s", [item, item], rank=1), "t": answer("t", [item])})
    found = rows(
        workspace,
        "SELECT field, split_part(detail, ',', 1) FROM data_issues WHERE rule = 'unknown_field' ORDER BY field",
    )
    assert found == [
        ("$.result.nfts[*].content.files", "3 occurrences"),
        ("$.result.nfts[*].content.links.video", "3 occurrences"),
        ("$.result.nfts[*].content.metadata.attributes[*].display_type", "3 occurrences"),
        ('$.result.nfts[*].content.metadata["odd key"]', "3 occurrences"),
        ("$.result.nfts[*].rarity", "3 occurrences"),
        ("$.result.rank", "1 occurrence"),
    ]


def test_unknown_fields_are_found_where_values_of_several_kinds_meet(api):
    described = {"id": "i", "content": {"metadata": {"attributes": [{"trait_type": "a", "unit": "x"}]}}}
    bodies = {
        "entries": answer(
            "entries", [{"id": "i", "content": {"metadata": {"attributes": ["b", {"value": 1, "rank": 2}]}}}]
        ),
        "attributes": answer("attributes", [described, {"id": "j", "content": {"metadata": {"attributes": {"a": 1}}}}]),
        "contents": answer("contents", [{"id": "i", "content": "x"}, {"id": "j", "content": {"files": []}}]),
        "items": answer("items", ["x", {"id": "i", "rarity": 1}]),
        "empty": answer("empty", [{"id": "i", "content": {"metadata": {}}}]),
        "values": answer(
            "values", [{"id": "i", "content": {"metadata": {"attributes": [{"value": 1}, {"value": {}}]}}}]
        ),
    }
    workspace = published(api, bodies)
    found = rows(workspace, "SELECT field FROM data_issues WHERE rule = 'unknown_field' ORDER BY field")
    assert [field for (field,) in found] == [
        "$.result.nfts[*].content.files",
        "$.result.nfts[*].content.metadata.attributes[*].rank",
        "$.result.nfts[*].content.metadata.attributes[*].unit",
        "$.result.nfts[*].rarity",
    ]


def test_purchases_take_what_the_answer_says_and_else_what_was_submitted(api):
    bodies = {
        "a": answer("a", [{"id": "i", "buyback_price": 1.5}, {"id": "j", "buyback_price": 2}, {"id": "k"}]),
        "b": answer("b", [{"id": "i"}], user_id=None, tx_hash="sandbox_abc-_9"),
    }
    api(Simulator(hold=0, scripts={s: [Reply(200, body)] for s, body in bodies.items()}))
    workspace = Workspace.open()
    drop(workspace, "x.csv", "session_id,user_id,pack_id,price_usd\na,mine,p,10\nb,mine,p,10\n")
    refresh(workspace)
    assert rows(
        workspace,
        "SELECT session_id, status, user_id, public_id, tx_hash, is_sandbox, pull_count, buyback_value_usd, pack_id, "
        "price_usd, poll_count FROM purchases ORDER BY 1",
    ) == [
        ("a", "fulfilled", "u", "_P", "hash", False, 3, Decimal("3.5"), "p", Decimal(10), 1),
        ("b", "fulfilled", "mine", "_P", "sandbox_abc-_9", True, 1, None, "p", Decimal(10), 1),
    ]
    assert rows(workspace, "SELECT DISTINCT session_id, user_id, pack_id, session_price_usd FROM pulls ORDER BY 1") == [
        ("a", "u", "p", Decimal(10)),
        ("b", "mine", "p", Decimal(10)),
    ]


def test_a_pull_is_dated_by_its_initiation_and_else_by_its_resolution(api):
    bodies = {s: answer(s, [{"id": "i"}]) for s in ("a", "b")}
    api(Simulator(hold=0, scripts={s: [Reply(200, body)] for s, body in bodies.items()}))
    workspace = Workspace.open()
    drop(workspace, "x.csv", "session_id,initiated_at\na,2026-01-02T23:30:00-01:00\nb,\n")
    refresh(workspace)
    dated = rows(workspace, "SELECT pulled_at::VARCHAR, pulled_at = resolved_at FROM pulls ORDER BY session_id")
    assert dated[0] == ("2026-01-03 00:30:00+00", False)
    assert dated[1][1]


def test_items_show_their_latest_pull_and_their_card_facts(api):
    def card(name: str, price: float, traits: dict[str, str]) -> dict:
        attributes = [{"trait_type": t, "value": v} for t, v in traits.items()]
        metadata = {"name": name, "attributes": attributes}
        return {
            "id": "m",
            "mint_address": "m",
            "type": "enft",
            "buyback_price": price,
            "content": {"metadata": metadata},
        }

    old = {"Grader": "PSA", "Grade": "MINT 9", "Serial Number": "7"}
    new = {
        "Grading Company": "CGC",
        "The Grade": "9.5-GEM MINT",
        "Cert Number": "1.4E+12",
        "Year": "1999",
        "Set": "Base",
    }
    bodies = {"a": answer("a", [card("old", 5, old)]), "b": answer("b", [card("new", 3, new)])}
    api(Simulator(hold=0, scripts={s: [Reply(200, body)] for s, body in bodies.items()}))
    workspace = Workspace.open()
    drop(workspace, "x.csv", "session_id,initiated_at\na,2026-01-02\nb,2026-01-03\n")
    refresh(workspace)
    (item,) = records(workspace, "FROM items")
    assert item["name"] == "new"
    assert (item["grading_company"], item["grade"], item["grade_number"]) == ("CGC", "9.5-GEM MINT", 9.5)
    assert (item["cert_number"], item["year"], item["set_name"], item["card_number"]) == (
        "1.4E+12",
        "1999",
        "Base",
        None,
    )
    assert item["pull_count"] == 2
    prices = [item[f"{which}_buyback_price_usd"] for which in ("latest", "min", "max")]
    assert prices == [Decimal(3), Decimal(3), Decimal(5)]


def test_an_empty_workspace_has_every_table_with_its_columns(api):
    workspace = published(api, {})
    for table in PUBLISHED:
        described = rows(workspace, f"SELECT column_name, column_type FROM (DESCRIBE {table.name})")
        assert described == [(c.name, c.type) for c in table.columns]
        assert rows(workspace, f"FROM {table.name}") == []


def test_of_repeated_keys_the_last_counts_in_the_meaning_and_in_the_tables(api):
    body = b'{"result": {"session_id": "s", "nfts": [], "nfts": [{"id": "a", "id": "b", "buyback_price": 1.23456}]}}'
    workspace = published(api, {"s": body, "t": answer("t", [{"id": "c"}])})
    found = rows(workspace, "SELECT session_id, item_id, buyback_price_usd FROM pulls ORDER BY 1")
    assert found == [("s", "b", Decimal("1.2346")), ("t", "c", None)]


def test_unknown_fields_of_repeated_keys_are_counted_once_in_an_answer_that_is_not_fulfilled_too(api):
    repeating = b'{"result": {"session_id": "s", "nfts": [{"no": 1}], "nfts": [], "rank": 1, "rank": 2}}'
    api(Simulator(hold=0, scripts={"s": [Reply(200, repeating), Reply(200, answer("s", [{"id": "i"}]))]}))
    workspace = Workspace.open()
    drop(workspace, "ids.txt", "s\n")
    refresh(workspace)
    found = rows(workspace, "SELECT field, split_part(detail, ',', 1) FROM data_issues WHERE rule = 'unknown_field'")
    assert found == [("$.result.rank", "1 occurrence")]


def test_pulls_that_were_built_before_their_purchases_are_built_again(api):
    scripts = {s: [Reply(200, answer(s, [{"id": s}]))] for s in "ab"}
    api(Simulator(hold=0, scripts=scripts))
    workspace = Workspace.open()
    drop(workspace, "a.txt", "a\n")
    refresh(workspace)
    drop(workspace, "b.txt", "b\n")
    workspace.take_in()
    with workspace.builder() as builder:
        builder.build(TABLES["pending_sessions"])
    workspace.poll(lambda _: None)
    with workspace.builder() as builder:
        builder.build(TABLES["pulls"])
    refresh(workspace)
    assert rows(workspace, "SELECT session_id FROM pulls ORDER BY 1") == [("a",), ("b",)]


def test_a_table_has_an_object_in_the_lake_before_its_first_row_and_none_too_many_after(api):
    api(Simulator(hold=0, scripts={"s": [Reply(200, answer("s", [{"id": "i"}]))]}))
    workspace = Workspace.open()
    refresh(workspace)
    lake = workspace.data.root / "lake"
    assert all(list(folder.glob("*.parquet")) for folder in lake.iterdir())
    assert {folder.name for folder in lake.iterdir()} == {table.name for table in PUBLISHED}
    drop(workspace, "a.txt", "s\n")
    refresh(workspace)
    assert [len(list((lake / name).glob("*.parquet"))) for name in ("purchases", "pulls", "item_attributes")] == [
        1,
        1,
        1,
    ]
    assert rows(workspace, "SELECT count(*) FROM pulls") == [(1,)]


def test_what_is_too_large_for_memory_is_spilled_to_disk(api):
    api(Simulator(hold=0))
    with connect(Workspace.open().data) as connection:
        connection.execute("SET memory_limit = '100MB'")
        connection.execute("SET threads = 1")
        numbered = "SELECT random() AS r, 'a text too long to be kept inline ' || range AS t FROM range(3_000_000)"
        counted = connection.execute(f"SELECT count(t) FROM ({numbered} ORDER BY r OFFSET 1)").fetchall()
        assert counted == [(2_999_999,)]


def test_new_item_types_and_changed_kinds_of_values_are_counted_with_when_they_were_seen(api):
    items = [{"id": 7, "type": "coin"}, {"id": 8, "type": "coin"}, {"id": "c", "type": "alt", "token_standard": {}}]
    workspace = published(api, {"s": answer("s", items, user_id=5)})
    found = rows(
        workspace,
        "SELECT rule, field, raw_value, split_part(detail, ',', 1) FROM data_issues "
        "WHERE rule IN ('new_item_type', 'changed_type') ORDER BY ALL",
    )
    assert found == [
        ("changed_type", "id", "a number instead of text", "2 occurrences"),
        ("changed_type", "token_standard", "an object instead of text", "1 occurrence"),
        ("changed_type", "user_id", "a number instead of text", "1 occurrence"),
        ("new_item_type", "type", "coin", "2 occurrences"),
    ]
    (detail,) = rows(workspace, "SELECT detail FROM data_issues WHERE rule = 'new_item_type'")[0]
    assert re.fullmatch(r"2 occurrences, first seen 20\d\d-[-\d: ]+, last seen 20\d\d-[-\d: ]+ UTC", detail)
