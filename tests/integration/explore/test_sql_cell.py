"""What the SQL cell and the filters show of received text, and statements that return nothing."""

from __future__ import annotations

import pytest

from pipeline.explore import markup
from pipeline.explore.edition import current_edition
from pipeline.explore.rows import Rows, as_csv
from pipeline.explore.selection import Selection, options
from pipeline.explore.sql_cell import Refusal, answered
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from tests.support.answers import fulfilled
from tests.support.workspace import drop, refresh

TURNED = "a card \u202egnp.exe"


@pytest.fixture
def workspace(copy_of):
    """Two sessions, one of them with a text that is written from right to left."""

    def build(workspace: Workspace) -> None:
        drop(workspace, "a.csv", "session_id,pack_id,price_usd\ns0,elite-50,50\ns1,elite-50,50\n")
        refresh(workspace)

    traits = [{"trait_type": "Set", "value": TURNED}]
    item = {"id": "i", "buyback_price": 9, "content": {"metadata": {"name": TURNED, "attributes": traits}}}
    return copy_of("cell", lambda: Simulator(delay_scale=0, hold=0, scripts={"s0": [fulfilled("s0", item)]}), build)


@pytest.fixture
def edition(workspace):
    return current_edition(workspace.data)


def test_a_value_that_python_cannot_hold_is_named_with_what_to_do(edition, workspace):
    refusal = ask(edition, workspace, "SELECT to_days(2000000000)")
    assert isinstance(refusal, Refusal)
    assert "cast its column to VARCHAR" in refusal.words


def ask(edition, workspace, sql):
    return answered(edition, sql, workspace.data.memory_limit)


def test_the_words_of_a_failed_query_show_no_character_for_the_direction_of_writing(edition, workspace):
    found = ask(edition, workspace, f"SELECT name::INTEGER FROM pulls WHERE name = '{TURNED}'")
    assert isinstance(found, Refusal) and TURNED in found.words
    assert "\\u202egnp" in markup.refusal(found.words)
    assert "\u202e" not in markup.refusal(found.words)


def test_a_choice_of_a_filter_shows_no_such_character_and_finds_what_has_it(edition):
    values = options(edition.cursor()).values["set"]
    (words,) = [words for words, value in values.items() if value == TURNED]
    assert words == TURNED.replace("\u202e", "\\u202e")
    condition, parameters = Selection(values={"set_name": (values[words],)}).condition()
    sql = f"SELECT session_id FROM explored.pulls WHERE {condition}"
    assert edition.cursor().execute(sql, parameters).fetchall() == [("s0",)]


def test_sql_that_returns_no_rows_is_refused(edition, workspace):
    found = ask(edition, workspace, "CREATE TEMP TABLE chosen AS FROM pulls")
    assert isinstance(found, Refusal) and "returns no rows: end it with a query" in found.words


@pytest.mark.parametrize(
    "sql", ["CREATE TEMP TABLE chosen AS SELECT 1 AS a; FROM chosen", "EXPLAIN FROM pulls", "PIVOT pulls ON item_type"]
)
def test_what_is_shown_is_exported(sql, edition, workspace):
    shown = ask(edition, workspace, sql)
    assert isinstance(shown, Rows)
    exported = as_csv(edition.cursor_for_users(), sql, None, workspace.data.memory_limit)
    assert exported.splitlines()[0].decode().split(",")[0] == shown.names[0]
