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
from tests.support import payloads, reference
from tests.support.answers import answer
from tests.support.workspace import drop, records, refresh, rows

pytestmark = pytest.mark.one_python


def published(api, bodies: dict[str, bytes]) -> Workspace:
    """A workspace whose sessions were answered with these bodies."""
    api(Simulator(hold=0, scripts={session_id: [Reply(200, body)] for session_id, body in bodies.items()}))
    workspace = Workspace.open()
    drop(workspace, "ids.txt", "\n".join(bodies))
    refresh(workspace)
    return workspace


def assert_agrees_with_the_reference(workspace: Workspace, bodies: dict[str, bytes]) -> None:
    for session_id, body in bodies.items():
        where = f"WHERE session_id = '{session_id}'"
        expected = reference.pulls(body)
        columns = ", ".join(expected[0])
        assert records(workspace, f"SELECT {columns} FROM pulls {where} ORDER BY pull_number") == expected
        expected = reference.attributes(body)
        got = records(
            workspace,
            "SELECT pull_number, attribute_number, trait_type, value, value_type, value_number "
            f"FROM item_attributes {where} ORDER BY ALL",
        )
        for ours, theirs in zip(got, expected, strict=True):
            if theirs["value_type"] in ("number", "object", "array"):
                assert json.loads(ours.pop("value")) == json.loads(theirs.pop("value"))
            assert ours == theirs


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


PRICES = {
    "8.50": "8.5000",
    "0": "0.0000",
    "-0.0": "0.0000",
    "0.00005": "0.0001",
    "0.00004999999999999999999999": "0.0000",
    "1.00004999999999999999": "1.0000",
    "12345678901.23455": "12345678901.2346",
    "99999999999.99994999": "99999999999.9999",
    "1e3": "1000.0000",
    "1.5E-3": "0.0015",
    "0.00000099": "0.0000",
    '"7.99594e-6"': "0.0000",
    '"0.09e-4"': "0.0000",
    "123456789012345678e-10": "12345678.9012",
    "100000000000000000000000000000e-20": "1000000000.0000",
    '"-0e5"': "0.0000",
    '"1e-99999999999999999999"': "0.0000",
    '"8.50"': "8.5000",
    '" 7.25 "': "7.2500",
    '"\\t7.25\\n"': "7.2500",
    '"1e2"': "100.0000",
    '"99999999999.99994999"': "99999999999.9999",
    "null": None,
}
BAD_PRICES = [
    *("-1", "-1e-400", "-0.5", "true", "false", "1e11", "100000000000", "1e400", "18446744073709551616", "{}", "[1]"),
    *("1e9223372036854775807", '"1e9223372036854775807"', '"+-1"'),
    *('"-1"', '"abc"', '""', '"$8.50"', '"1,250.00"', '"NaN"', '"Infinity"', '"1_000"', '"0x10"', '"1e11"'),
]


@pytest.fixture
def priced(copy_of) -> Workspace:
    """A session for each of the prices, in their order, with one item at that price."""
    body = b'{"result": {"session_id": "s%d", "nfts": [{"id": "i", "buyback_price" : %s }]}}'
    scripts = {f"s{n}": [Reply(200, body % (n, sent.encode()))] for n, sent in enumerate(PRICES)}

    def build(workspace: Workspace) -> None:
        drop(workspace, "ids.txt", "\n".join(scripts))
        refresh(workspace)

    copied: Workspace = copy_of("priced", lambda: Simulator(hold=0, scripts=scripts), build)
    return copied


@pytest.mark.parametrize(("number", "stored"), [*enumerate(PRICES.values())], ids=PRICES)
def test_a_price_is_rounded_half_up_and_exact(number, stored, priced):
    found = rows(priced, f"SELECT buyback_price_usd FROM pulls WHERE session_id = 's{number}'")
    assert found == [(Decimal(stored) if stored else None,)]
    assert rows(priced, "FROM data_issues") == []


def test_a_price_that_cannot_be_is_null_and_an_issue(api):
    items = ", ".join(f'{{"id": "i{n}", "buyback_price": {price}}}' for n, price in enumerate(BAD_PRICES))
    body = f'{{"result": {{"session_id": "s", "nfts": [{items}, {{"id": "absent"}}]}}}}'.encode()
    workspace = published(api, {"s": body})
    assert rows(workspace, "SELECT count(*), count(buyback_price_usd) FROM pulls") == [(len(BAD_PRICES) + 1, 0)]
    issues = records(workspace, "SELECT * FROM data_issues WHERE field = 'buyback_price' ORDER BY pull_number")
    assert [issue["pull_number"] for issue in issues] == list(range(1, len(BAD_PRICES) + 1))
    assert {issue["rule"] for issue in issues} == {"unreadable_price"}
    assert issues[3]["raw_value"] == "true"


def test_text_that_looks_like_a_price_key_changes_nothing(api):
    tricky = 'he said {"buyback_price": 1234567890123456.5}, "buyback_price": 9999999999999999'
    item = {"id": "i", "buyback_price": 2.5, "content": {"metadata": {"name": tricky}}}
    workspace = published(api, {"s": answer("s", [item])})
    assert rows(workspace, "SELECT buyback_price_usd, name FROM pulls") == [(Decimal("2.5"), tricky)]


def test_a_negative_price_that_is_too_small_for_a_double_is_negative_all_the_same(api):
    body = b'{"result": {"session_id": "s", "nfts": [{"id": "i", "buyback_price": -1e-400}]}}'
    workspace = published(api, {"s": body})
    assert rows(workspace, "SELECT buyback_price_usd FROM pulls") == [(None,)]
    assert rows(workspace, "SELECT detail FROM data_issues") == [("negative",)]


def test_a_price_is_exact_however_its_key_is_written(api):
    body = b'{"result": {"session_id": "s", "nfts": [{"id": "i", "buyback\\u005Fpric\\u0065": 12345678901.234549999}]}}'
    workspace = published(api, {"s": body})
    assert rows(workspace, "SELECT buyback_price_usd FROM pulls") == [(Decimal("12345678901.2345"),)]


def test_a_price_of_many_digits_elsewhere_than_in_an_item_is_left_as_it_is(api):
    price = 12345678901234567
    attributes = {"buyback_price": price, "nested": {"buyback_price": price}}
    item = {"id": "i", "buyback_price": 1.5, "content": {"metadata": {"attributes": attributes}}}
    workspace = published(api, {"s": answer("s", [item])})
    assert rows(workspace, "SELECT trait_type, value FROM item_attributes ORDER BY attribute_number") == [
        ("buyback_price", str(price)),
        ("nested", f'{{"buyback_price":{price}}}'),
    ]


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


TEXTS_LIKE_NUMBERS = [":5", " : -5.50", ":1e400", "a:5", ":"]


@pytest.fixture
def texts_like_numbers(copy_of) -> Workspace:
    """A session for each of the texts, in their order: an item full of it, and one with another."""

    def body(session_id: str, text: str) -> bytes:
        item = {
            "id": text.strip(),
            "type": 5,
            "buyback_price": 0,
            "content": {
                "metadata": {
                    "attributes": [{"trait_type": text, "value": text}, {"trait_type": "Weight", "value": [5]}]
                }
            },
            text: 1,
        }
        sent = answer(session_id, [item, {"id": "a,", "key,": 5}])
        return sent.replace(b'"buyback_price": 0', b'"buyback_price": 1.00004999999999999999')

    scripts = {f"s{n}": [Reply(200, body(f"s{n}", text))] for n, text in enumerate(TEXTS_LIKE_NUMBERS)}

    def build(workspace: Workspace) -> None:
        drop(workspace, "ids.txt", "\n".join(scripts))
        refresh(workspace)

    copied: Workspace = copy_of("texts", lambda: Simulator(hold=0, scripts=scripts), build)
    return copied


@pytest.mark.parametrize(("number", "text"), [*enumerate(TEXTS_LIKE_NUMBERS)], ids=TEXTS_LIKE_NUMBERS)
def test_text_that_begins_with_a_colon_and_a_number_is_read_as_text_beside_numbers_with_all_their_digits(
    number, text, texts_like_numbers
):
    where = f"WHERE session_id = 's{number}'"
    found = rows(texts_like_numbers, f"SELECT item_id, buyback_price_usd FROM pulls {where} ORDER BY pull_number")
    assert found == [(text.strip(), Decimal("1.0000")), ("a,", None)]
    found = rows(texts_like_numbers, f"SELECT trait_type, value FROM item_attributes {where} ORDER BY attribute_number")
    assert found == [(text, text), ("Weight", "[5]")]
    found = rows(texts_like_numbers, "SELECT field FROM data_issues WHERE rule = 'unknown_field' ORDER BY field")
    assert found == [(f"$.result.nfts[*][{json.dumps(key)}]",) for key in sorted(["key,", *TEXTS_LIKE_NUMBERS])]


def test_unknown_fields_of_repeated_keys_are_counted_once_in_an_answer_that_is_not_fulfilled_too(api):
    repeating = b'{"result": {"session_id": "s", "nfts": [{"no": 1}], "nfts": [], "rank": 1, "rank": 2}}'
    api(Simulator(hold=0, scripts={"s": [Reply(200, repeating), Reply(200, answer("s", [{"id": "i"}]))]}))
    workspace = Workspace.open()
    drop(workspace, "ids.txt", "s\n")
    refresh(workspace)
    found = rows(workspace, "SELECT field, split_part(detail, ',', 1) FROM data_issues WHERE rule = 'unknown_field'")
    assert found == [("$.result.rank", "1 occurrence")]


def test_an_answer_that_must_be_rewritten_keeps_its_numbers_digits(api):
    item = '{"id": "\\ud800x", "buyback_price": %s, "content": {"metadata": {"attributes": {"a": 1e400, "b": 1.50}}}}'
    prices = ["1.000049999999999999999", "99999999999.999949999999999999"]
    items = ", ".join(item % price for price in prices)
    body = f'{{"result": {{"session_id": "s", "nfts": [{items}]}}}}'.encode()
    workspace = published(api, {"s": body})
    assert rows(workspace, "SELECT item_id, buyback_price_usd FROM pulls ORDER BY pull_number") == [
        ("\ufffdx", Decimal("1.0000")),
        ("\ufffdx", Decimal("99999999999.9999")),
    ]
    assert rows(workspace, "SELECT DISTINCT value FROM item_attributes WHERE trait_type = 'a'") == [("1e400",)]


def test_a_mean_of_money_is_rounded_half_up_from_its_exact_value(api):
    items = [{"id": str(i), "buyback_price": p, "type": "alt"} for i, p in enumerate((0.0281, 0.0393, 8.5, 1.25))]
    workspace = published(api, {"s": answer("s", items)})
    assert rows(workspace, "SELECT buyback_mean_usd FROM item_types") == [(Decimal("2.4544"),)]
    assert rows(workspace, "SELECT buyback_mean_usd FROM buyback_values") == [(Decimal("2.4544"),)]


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


def test_a_session_whose_quotes_are_too_much_for_a_sum_keeps_its_pulls(api):
    dear = [{"id": str(i), "buyback_price": "99999999999"} for i in range(1_001)]
    workspace = published(
        api, {"dear": answer("dear", dear), "plain": answer("plain", [{"id": "a", "buyback_price": 1}])}
    )
    assert rows(workspace, "SELECT session_id, pull_count, buyback_value_usd FROM purchases ORDER BY 1") == [
        ("dear", 1_001, None),
        ("plain", 1, Decimal(1)),
    ]
    assert rows(workspace, "SELECT count(*), sum(buyback_price_usd) FROM pulls") == [
        (1_002, 1_001 * 99_999_999_999 + 1)
    ]
