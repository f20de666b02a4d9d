"""A table that is derived from the answers of a second endpoint, beside those of the first or without any."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pipeline.catalog.lineage import origins
from pipeline.catalog.recorded_lineage import Origin
from pipeline.polling.answers import Answer
from pipeline.schema import TABLES
from pipeline.steps import Workspace
from pipeline.storage.raw_log import Response, ResponseLog
from pipeline.transform import queries
from tests.support.answers import fulfilled
from tests.support.made_up_endpoint import (
    ITEM_OWNER_RESPONSES,
    ITEM_OWNERS,
    ITEM_OWNERS_SQL,
    interpret_owner,
    owner_body,
)
from tests.support.workspace import keep_answer, lake_rows

DAY = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def workspace(monkeypatch) -> Workspace:
    """A workspace in whose declarations the table and its source are."""
    written = queries._text
    monkeypatch.setattr(queries, "_text", lambda name: ITEM_OWNERS_SQL if name == ITEM_OWNERS.name else written(name))
    for table in (ITEM_OWNER_RESPONSES, ITEM_OWNERS):
        monkeypatch.setitem(TABLES, table.name, table)
    return Workspace.open()


def keep(workspace: Workspace, item_id: str, body: bytes) -> str:
    """Puts an answer into raw as polling does; returns its outcome."""
    meaning = interpret_owner(item_id, Answer(200, {}, body))
    at = int(DAY.timestamp() * 1_000_000)
    with workspace.data.exclusive():
        log = ResponseLog(workspace.data, ITEM_OWNER_RESPONSES, DAY)
        log.append(
            Response(item_id, at, at, 200, None, body, meaning.outcome, meaning.detail, meaning.has_repeated_keys)
        )
        log.close()
    return meaning.outcome


def owners(workspace: Workspace) -> list[tuple[str, str]]:
    with workspace.builder() as builder:
        builder.build(ITEM_OWNERS)
    return [(item_id, owner) for item_id, owner in lake_rows(workspace, "SELECT item_id, owner FROM item_owners")]


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (owner_body("a", "ann"), "fulfilled"),
        (b'\xef\xbb\xbf{"item_id": "a", "owner": "ann"}', "fulfilled"),
        (b'{"item_id": "a", "owner": "bob", "owner": "ann"}', "fulfilled"),
        (b'{"item_id": "a", "\\u006fwner": "ann", "of": 1}', "fulfilled"),
        (b'{"item_id": "a", "owner": "ann", "note": "\\ud800"}', "fulfilled"),
        (b'{"item_id": "a", "owner": "ann", "note": 1e999}', "fulfilled"),
        (b'{"item_id": "a", "owner": "ann", "note": ' + b"[" * 500 + b"]" * 500 + b"}", "fulfilled"),
        (b'{"item_id": "a", "owner": "ann", "note": NaN}', "malformed"),
        (owner_body("a", "ann").decode().encode("utf-16"), "malformed"),
        (owner_body("a", "ann")[:-1] + b"\xff}", "malformed"),
    ],
)
def test_sql_reads_every_answer_that_is_final(body, outcome, workspace):
    assert keep(workspace, "a", body) == outcome
    assert owners(workspace) == ([("a", "ann")] if outcome == "fulfilled" else [])


def test_answers_of_another_endpoint_are_not_among_them(workspace):
    keep_answer(workspace, "s1", 200, fulfilled("s1").body, "fulfilled")
    assert owners(workspace) == []
    keep(workspace, "a", owner_body("a", "ann"))
    assert owners(workspace) == [("a", "ann")]


@pytest.mark.usefixtures("workspace")
def test_the_lineage_of_its_columns_ends_at_its_own_raw_table():
    assert origins(ITEM_OWNERS)["owner"] == (Origin(ITEM_OWNER_RESPONSES.name, "body"),)
