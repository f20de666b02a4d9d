"""What the query of `items` makes of cards with given traits and names."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import duckdb
import pytest

from pipeline.schema.items import ITEM_DAYS, ITEMS
from pipeline.schema.staging import ITEM_ATTRIBUTES, PULLS
from pipeline.simulator.server import Reply, Simulator
from pipeline.steps import Workspace
from pipeline.transform.queries import macros, query
from tests.support.workspace import drop, records, refresh

Traits = dict[str, Any]
Api = Callable[[Simulator], Simulator]
RESOLVED_AT = datetime(2026, 1, 2, tzinfo=UTC)
SHARE_WANTED = 0.98
NAME = "1997 #143 Snoring Bear PSA 5 Base"


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with the macros and the sources of `items`, empty."""
    with duckdb.connect() as database:
        database.execute("SET TimeZone = 'UTC'")
        database.execute(macros())
        for table in (PULLS, ITEM_ATTRIBUTES):
            columns = ", ".join(f"{column.name} {column.type}" for column in table.columns)
            database.execute(f"CREATE TEMP TABLE {table.name} ({columns})")
        database.execute(f"CREATE TEMP VIEW {ITEM_DAYS.name} AS {query(ITEM_DAYS)}")
        yield database


def read(
    connection: duckdb.DuckDBPyConnection, cards: list[Traits], names_of_cards: list[str] | None = None
) -> list[dict[str, Any]]:
    """What the query of `items` makes of cards with such traits, and such names if given, in their order."""
    numbers = list(range(1, len(cards) + 1))
    traits = [(n, i, t, v) for n, card in zip(numbers, cards, strict=True) for i, (t, v) in enumerate(card.items())]
    connection.execute("DELETE FROM pulls")
    connection.execute("DELETE FROM item_attributes")
    connection.execute(
        "INSERT INTO pulls (session_id, pull_number, item_id, pulled_at, resolved_at, name) "
        "SELECT 's', n, printf('%06d', n), $at, $at, name "
        "FROM (SELECT unnest($numbers) AS n, unnest($names::VARCHAR[]) AS name)",
        {"numbers": numbers, "at": RESOLVED_AT, "names": names_of_cards or [None] * len(cards)},
    )
    connection.execute(
        "INSERT INTO item_attributes (session_id, pull_number, attribute_number, trait_type, value) "
        "SELECT 's', t.n, t.i, t.t, t.v "
        "FROM (SELECT unnest($traits::STRUCT(n INTEGER, i INTEGER, t VARCHAR, v VARCHAR)[]) AS t)",
        {"traits": [dict(zip("nitv", trait, strict=True)) for trait in traits]},
    )
    cursor = connection.execute(query(ITEMS))
    names = [column[0] for column in cursor.description or []]
    assert names == [column.name for column in ITEMS.columns]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@pytest.fixture(scope="module")
def read_of(connection: duckdb.DuckDBPyConnection) -> Callable[[str, Iterable[str]], dict[str, dict[str, Any]]]:
    """By what was sent as a trait, the item with it: those of one table of cases are read in one query."""
    found: dict[str, dict[str, dict[str, Any]]] = {}

    def item_of(trait: str, cases: Iterable[str]) -> dict[str, dict[str, Any]]:
        if trait not in found:
            sent = list(cases)
            items = read(connection, [{trait: value} for value in sent])
            found[trait] = dict(zip(sent, items, strict=True))
        return found[trait]

    return item_of


def published(api: Api, cards: list[Traits], names: Sequence[str | None] | None = None) -> list[dict[str, Any]]:
    """The published items of one answer with such cards, in their order; without names, all have the same."""
    metadata = [
        {"name": name, "attributes": [{"trait_type": t, "value": v} for t, v in card.items()]}
        for card, name in zip(cards, names or [NAME] * len(cards), strict=True)
    ]
    nfts = [{"id": f"{n:06}", "content": {"metadata": m}} for n, m in enumerate(metadata)]
    body = json.dumps({"result": {"session_id": "s", "nfts": nfts}}).encode()
    api(Simulator(hold=0, scripts={"s": [Reply(200, body)]}))
    workspace = Workspace.open()
    drop(workspace, "ids.txt", "s\n")
    refresh(workspace)
    return records(workspace, "FROM items ORDER BY item_id")
