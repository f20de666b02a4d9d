"""Print runs and insured values of cards, from names and from traits as vendors write them."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from tests.support import payloads
from tests.support.card_facts import Traits, published, read

pytestmark = pytest.mark.one_python

RUNS = {
    "Juan Soto RC Auto /25": 25,
    "Gold Vinyl #'d /10": 10,
    "Refractor #/99 PSA 10": 99,
    "Superfractor 1/1": 1,
    "Auto/25 Prizm": 25,
    "Silver (/50)": 50,
    "Jersey Patch 12/25": 25,
    "Jersey Patch 012/025": None,
    # The number of a card in its set, a season, a date, a grade, a year, what comes with the card.
    "Charizard 4/102": None,
    "Mew 5/25 Celebrations Pokemon": None,
    "Luffy 12/25 One Piece": None,
    "Topps Chrome 24/25 Wembanyama": None,
    "2019/20 Prizm": None,
    "Signed 12/25/2024": None,
    "Jordan PSA/10": None,
    "Auto 10/10": None,
    "Anniversary /2023": None,
    "Box w/2 coins": None,
    "Full Art/Sonia PSA 10": None,
    "Dual Auto /25 and /50": None,
    "30/25": None,
    "/0": None,
    "/": None,
}


def named(connection: duckdb.DuckDBPyConnection, name: str, traits: Traits | None = None) -> dict[str, Any]:
    """The item of such a name."""
    (item,) = read(connection, [traits or {}], [name])
    return item


@pytest.fixture(scope="module")
def named_items(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, Any]]:
    """The items of the names in `RUNS`."""
    return dict(zip(RUNS, read(connection, [{}] * len(RUNS), list(RUNS)), strict=True))


@pytest.fixture(scope="module")
def traited_items(connection: duckdb.DuckDBPyConnection) -> dict[str, dict[str, Any]]:
    """The items with the traits in `TRAITS_OF_RUNS`, whose names say otherwise where a trait is to come first."""
    names = ["Charizard /10" if expected else "x" for expected in TRAITS_OF_RUNS.values()]
    items = read(connection, [{"Print Run": sent} for sent in TRAITS_OF_RUNS], names)
    return dict(zip(TRAITS_OF_RUNS, items, strict=True))


@pytest.mark.parametrize(("name", "expected"), RUNS.items())
def test_a_print_run_is_read_from_a_name_where_nothing_else_can_be_meant(name, expected, named_items):
    assert named_items[name]["print_run"] == expected


def test_what_speaks_for_a_set_number_in_the_traits_keeps_a_name_from_being_read(connection):
    for traits, expected in (
        ({"Category": "Baseball"}, 25),
        ({"Category": "Pok\u00e9mon"}, None),
        ({"Card Number": "12"}, None),
        ({"Serial Number": "012"}, None),
        ({"Card Number": "7"}, 25),
        ({"Category": "Pokemon", "Print Run": "12/25"}, 25),
    ):
        assert named(connection, "Star 12/25", traits)["print_run"] == expected, traits


TRAITS_OF_RUNS = {
    "/25": 25,
    "12/25": 25,
    "#/99": 99,
    "1/1": 1,
    "1 of 1": 1,
    "25": 25,
    "Numbered to 25": 25,
    "4/102": 102,
    "2,500": None,
    "limited": None,
    "0": None,
    "9" * 20: None,
}


@pytest.mark.parametrize(("sent", "expected"), TRAITS_OF_RUNS.items())
def test_a_trait_of_the_print_run_is_read_in_any_form(sent, expected, traited_items):
    assert traited_items[sent]["print_run"] == expected


def test_a_parallel_may_tell_the_print_run_and_comes_before_the_name(connection):
    item = named(connection, "Star /50", {"Parallel": "Gold Refractor /10", "Language": "Japanese"})
    assert (item["parallel"], item["print_run"], item["language"]) == ("Gold Refractor /10", 10, "Japanese")


INSURED = {
    "110": "110",
    "$1,250.00": "1250",
    "1,500.50": "1500.5",
    "US$ 90": "90",
    "90 usd": "90",
    "USD 5": "5",
    "0": "0",
    "\u20ac90": None,
    "C$5": None,
    "-5": None,
    "1e20": None,
    "ask": None,
    "[1]": None,
}


@pytest.mark.parametrize(("sent", "expected"), INSURED.items())
def test_an_insured_value_is_read_in_dollars_alone(sent, expected, read_of):
    for trait in ("Insured Value", "insured value"):
        item = read_of(trait, INSURED)[sent]
        assert item["insured_value_usd"] == (expected and Decimal(expected))


PRINT_RUNS = {
    payloads.MADE_UP: [("Ada Maren RC Auto /25", 25), ("Kit Osei Refractor 7/99", 99)],
    payloads.REAL: [("Juan Soto RC Auto /25", 25)] * 2,
}


@pytest.mark.parametrize("folder", payloads.FOLDERS)
def test_insured_values_of_cards_are_read_and_no_set_number_is_taken_for_a_print_run(folder, api, record_property):
    cards, names = [], []
    for file in payloads.NAMES:
        for line in payloads.lines_of(folder, file):
            metadata = (json.loads(line)["nft"].get("content") or {}).get("metadata") or {}
            attributes = metadata.get("attributes")
            given = attributes if isinstance(attributes, list) else []
            cards.append(
                {a["trait_type"]: a.get("value") for a in given if isinstance(a, dict) and a.get("trait_type")}
            )
            names.append(metadata.get("name"))
    items = published(api, cards, names)
    sent = {
        "insured_value_usd": [any(t.lower() == "insured value" for t in card) for card in cards],
        "print_run": [isinstance(name, str) and bool(re.search(r"/ ?[0-9]", name)) for name in names],
        "parallel": [any(t.lower() == "parallel" for t in card) for card in cards],
        "language": [any(t.lower() == "language" for t in card) for card in cards],
    }
    for column, is_sent in sent.items():
        read_items = [item for item in items if item[column] is not None]
        record_property(
            f"{column}, {folder.name}",
            f"{len(read_items)} of {sum(is_sent)} that name one were read, of {len(items)} items",
        )
        assert len(read_items) == sum(is_sent)
    runs = [(item["name"], item["print_run"]) for item in items if item["print_run"] is not None]
    assert runs == PRINT_RUNS[folder]
