"""Prices and other numbers of answers: exact, rounded half up, or an issue."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from pipeline.simulator.server import Reply, Simulator
from pipeline.steps import Workspace
from tests.support.answered_tables import published
from tests.support.answers import answer
from tests.support.workspace import drop, records, refresh, rows

pytestmark = pytest.mark.one_python

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
