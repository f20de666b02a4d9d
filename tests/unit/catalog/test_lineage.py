"""Where each column comes from is read out of the SQL, and every answer names something that exists."""

from __future__ import annotations

import dataclasses

import pytest

from pipeline.catalog import lineage
from pipeline.catalog.lineage import LineageError, asset_origins, origins, render
from pipeline.catalog.recorded_lineage import RECORD, Origin
from pipeline.catalog.recorded_lineage import asset_origins as recorded_origins
from pipeline.schema import TABLES

DERIVED = [table for table in TABLES.values() if table.sources]
# The columns whose values stand in the query itself, as the bounds of bands do.
SAID_BY_THE_QUERY = {
    "pending_ageing": {"age_band", "age_from_seconds"},
    "buyback_outstanding": {"window_days"},
    "quote_accuracy": {"age_band", "age_from_seconds"},
    "daily_signals": {"signal"},
}


@pytest.mark.parametrize("table", DERIVED, ids=lambda t: t.name)
def test_every_derived_column_has_a_source_that_exists(table):
    for found in (origins(table), asset_origins(table)):
        assert list(found) == [column.name for column in table.columns]
        for name, sources in found.items():
            is_said = name in SAID_BY_THE_QUERY.get(table.name, ())
            assert bool(sources) is not is_said, f"{table.name}.{name} comes from {sources or 'nowhere'}"
            for origin in sources:
                columns = {column.name for column in TABLES[origin.table].columns}
                assert origin.column is None or origin.column in columns


@pytest.mark.parametrize("table", DERIVED, ids=lambda t: t.name)
def test_sources_are_the_declared_ones_and_assets_where_users_look(table):
    assert {o.table for found in origins(table).values() for o in found} <= set(table.sources)
    seen = {TABLES[o.table] for found in asset_origins(table).values() for o in found}
    assert all(source.is_asset or not source.sources for source in seen)


def test_the_record_that_definitions_read_is_what_the_sql_says():
    assert RECORD.read_text(encoding="utf-8") == render(), "run `make fix`"
    for table in (table for table in TABLES.values() if table.is_asset and table.sources):
        assert recorded_origins(table) == asset_origins(table)


def test_known_columns_come_from_where_their_sql_says():
    purchases, items = asset_origins(TABLES["purchases"]), asset_origins(TABLES["items"])
    assert purchases["user_id"] == (Origin("session_submissions", "user_id"), Origin("status_responses", "body"))
    assert items["latest_buyback_price_usd"] == (Origin("pulls", "buyback_price_usd"),)
    assert items["pull_count"] == (Origin("pulls", None),)
    assert items["pull_count"][0].label == "rows of pulls"


def read(sql: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Origin, ...]]:
    """The origins in a query of its own over `pulls` and `purchases`, with columns a and b."""
    columns = tuple(dataclasses.replace(TABLES["pulls"].columns[0], name=name) for name in ("a", "b"))
    table = dataclasses.replace(TABLES["pulls"], name="probe", columns=columns, sources=("pulls", "purchases"))
    monkeypatch.setattr(lineage, "query", lambda _table: sql)
    return origins.__wrapped__(table)


FORMS = {
    "SELECT name AS a, count(*) AS b FROM pulls GROUP BY ALL": (["name"], [None]),
    "WITH x AS (FROM pulls) SELECT name AS a, item_id || name AS b FROM x": (["name"], ["item_id", "name"]),
    "SELECT name AS a, name AS b FROM pulls UNION ALL SELECT item_id, 'x' FROM pulls": (["item_id", "name"], ["name"]),
    "SELECT list_transform([name], lambda n: n || item_id) AS a, 1 + pull_number AS b FROM pulls": (
        ["item_id", "name"],
        ["pull_number"],
    ),
    "SELECT arg_min(name, (pulled_at, item_id)) AS a, (SELECT max(item_id) FROM pulls) AS b FROM pulls": (
        ["name"],
        ["item_id"],
    ),
    "SELECT max(name) OVER (PARTITION BY item_id) AS a, row_number() OVER (ORDER BY item_id) AS b FROM pulls": (
        ["name"],
        ["item_id"],
    ),
    "SELECT name AS a, own_macro(item_id, 1) AS b FROM pulls WHERE pull_number > 1 ORDER BY session_id": (
        ["name"],
        ["item_id"],
    ),
}


@pytest.mark.parametrize("sql", FORMS)
def test_each_form_of_sql_is_followed(sql, monkeypatch):
    found = read(sql, monkeypatch)
    assert tuple([origin.column for origin in found[name]] for name in "ab") == FORMS[sql]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT x.nothing AS a, x.name AS b FROM (SELECT name FROM pulls) AS x",
        "SELECT nothing AS a, name AS b FROM pulls JOIN purchases USING (session_id)",
        "SELECT FROM WHERE",
    ],
)
def test_a_column_that_comes_from_nowhere_is_refused(sql, monkeypatch):
    with pytest.raises(LineageError, match="query of probe"):
        read(sql, monkeypatch)


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT name AS a FROM pulls", "no column at position 2, where b is declared"),
        ("SELECT name AS b, name AS a FROM pulls", "b at position 1, where a is declared"),
    ],
)
def test_a_query_that_selects_other_columns_than_declared_is_refused(sql, words, monkeypatch):
    with pytest.raises(LineageError, match=f"query of probe selects {words}"):
        read(sql, monkeypatch)
