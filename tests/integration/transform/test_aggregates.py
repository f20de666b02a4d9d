"""Marts are summed up from days, and say what a plain query over all pulls says."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import duckdb
import pytest

from benchmarks.tables import FIRST_DAY, add_day
from pipeline.schema import TABLES
from pipeline.schema.table import TIME
from pipeline.simulator.server import Reply, Simulator
from pipeline.steps import Workspace
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.day_parts import minutes_of
from pipeline.transform.builder import Builder
from pipeline.transform.queries import macros, query, time_macros
from tests.support.answers import answer
from tests.support.lake import lake_hashes
from tests.support.workspace import drop, records, refresh, rows

pytestmark = pytest.mark.one_python


@pytest.fixture(scope="module")
def history(tmp_path_factory) -> Iterator[duckdb.DuckDBPyConnection]:
    """Three days of the simulator's sessions with every table built, as views."""
    data = DataDirectory(tmp_path_factory.mktemp("history"))
    data.claim("test", "none")
    for day in range(3):
        add_day(data, day, 400)
    with data.exclusive(), Builder(data, FIRST_DAY, expire_after=0) as builder:
        builder.build_published()
    with connect(data) as connection:
        for table in TABLES.values():
            connection.execute(f"CREATE TEMP VIEW {table.name} AS FROM {data.store.scan(table)}")
        yield connection


def same(connection: duckdb.DuckDBPyConnection, plain: str, mart: str) -> bool:
    found = [connection.execute(sql).fetchall() for sql in (plain, mart)]
    assert found[0]
    return found[0] == found[1]


def test_the_percentiles_of_counted_quotes_are_those_of_the_pulls(history):
    shares = {"p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}
    percentiles = ", ".join(
        f"quantile_cont(buyback_price_usd::DECIMAL(18,6), {share})::DECIMAL(18,4)" for share in shares.values()
    )
    plain = f"SELECT coalesce(item_type, 'unknown') AS t, {percentiles} FROM pulls GROUP BY t ORDER BY t"
    columns = ", ".join(f"buyback_{name}_usd" for name in shares)
    assert same(history, plain, f"SELECT item_type, {columns} FROM item_types ORDER BY item_type")


def test_what_the_daily_top_pulls_hold_is_that_of_the_pulls(history):
    plain = """
        WITH ranked AS (
            SELECT pack_id, buyback_price_usd AS usd, sum(usd) OVER (PARTITION BY pack_id) AS total,
                row_number() OVER dearest AS place, sum(usd) OVER dearest - usd AS dearer
            FROM pulls WINDOW dearest AS (PARTITION BY pack_id ORDER BY usd DESC ROWS UNBOUNDED PRECEDING)
        )
        SELECT pack_id, sum(usd) FILTER (place <= 10) / any_value(total), count(*) FILTER (dearer * 2 < total)
        FROM ranked GROUP BY pack_id ORDER BY pack_id
    """
    assert same(history, plain, "SELECT pack_id, top_10_share, half_of_total_pull_count FROM pack_economics")


def test_intervals_from_sums_by_day_are_those_of_the_sessions(history):
    plain = """
        WITH multiples AS (
            SELECT pack_id, session_id,
                buyback_price_usd::DOUBLE * count(*) OVER (PARTITION BY session_id)
                    / session_price_usd::DOUBLE AS multiple
            FROM pulls
        ),
        medians AS (SELECT pack_id, median(multiple) AS median FROM multiples GROUP BY pack_id),
        sessions AS (
            SELECT pack_id, session_sums(y, m) AS capped, session_sums(k, m) AS below,
                session_sums(w, m) AS wins FROM (
                SELECT pack_id, sum(least(multiple, 5)) AS y, count(*) AS m, count(*) FILTER (multiple <= median) AS k,
                    count(*) FILTER (multiple >= 1) AS w
                FROM multiples JOIN medians USING (pack_id) GROUP BY pack_id, session_id
            ) GROUP BY pack_id HAVING count(*) >= 100
        )
        SELECT pack_id, mean_low(capped), capped_mean_high(capped, with_a_jackpot(capped)),
            clustered_low(wins, design_effect(wins), t_975(wins.n - 1)),
            clustered_high(wins, design_effect(wins), t_975(wins.n - 1)),
            (SELECT multiple FROM (
                SELECT multiple, row_number() OVER (ORDER BY multiple) AS place
                FROM multiples WHERE multiples.pack_id = sessions.pack_id
            ) WHERE place = median_low_rank(capped.m, clustered_error(below)))
        FROM sessions ORDER BY pack_id
    """
    history.execute(macros())
    expected = history.execute(plain).fetchall()
    bounds = (
        "multiple_mean_capped_5x_low, multiple_mean_capped_5x_high, win_rate_low, win_rate_high, multiple_median_low"
    )
    found = history.execute(
        f"SELECT pack_id, {bounds} FROM pack_economics WHERE multiple_mean_capped_5x_low IS NOT NULL ORDER BY pack_id"
    ).fetchall()
    assert len(expected) > 1
    assert [row[0] for row in found] == [row[0] for row in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert ours[1:] == pytest.approx(theirs[1:], abs=1e-8)


def test_a_free_session_and_a_pull_without_a_quote_have_no_part_in_the_capped_mean(api):
    bodies = {"free": [{"id": "a", "buyback_price": 5}], "paid": [{"id": "b", "buyback_price": 5}, {"id": "c"}]}
    api(Simulator(hold=0, scripts={s: [Reply(200, answer(s, items))] for s, items in bodies.items()}))
    workspace = Workspace.open()
    drop(workspace, "x.csv", "session_id,pack_id,price_usd\nfree,p,0\npaid,p,20\n")
    refresh(workspace)
    (pack,) = records(workspace, "FROM pack_economics")
    assert (pack["multiple_mean"], pack["multiple_mean_capped_5x"], pack["multiple_median"]) == (0.5, 0.5, 0.5)


def test_a_changed_reference_price_changes_what_was_counted_before(api):
    api(Simulator(hold=0, scripts={"s": [Reply(200, answer("s", [{"id": "a", "buyback_price": 5}]))]}))
    workspace = Workspace.open()
    drop(workspace, "x.csv", "session_id,pack_id,quantity\ns,p,2\n")
    workspace.data.packs_file.parent.mkdir(exist_ok=True)
    for price, multiple in ((5, 0.5), (1, 2.5)):
        workspace.data.packs_file.write_text(f"pack_id,price_usd\np,{price}\n")
        refresh(workspace)
        assert rows(workspace, "SELECT multiple_median FROM pack_economics") == [(multiple,)]
    before = lake_hashes(workspace)
    workspace.rebuild()
    assert lake_hashes(workspace) == before


# A session, settled at noon of the fifth: when it was asked, when it was answered, and what the answer said.
LATER_ANSWERS = [
    ("05 12:00:01", "05 12:00:02", "pending"),
    ("05 11:59:59", "05 12:00:02", "failed"),
    ("05 11:59:59", "06 00:00:01", "pending"),
    ("05 12:00:00", "06 00:00:01", "fulfilled"),
    ("06 00:00:01", "06 00:00:02", "fulfilled"),
    ("05 11:59:00", "05 11:59:59", "pending"),
]


@pytest.mark.parametrize(("asked", "answered", "outcome"), LATER_ANSWERS)
def test_whatever_came_after_a_session_was_settled_is_found(asked, answered, outcome):
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(macros())
        connection.execute(time_macros(datetime(2026, 2, 1, tzinfo=UTC), 0))
        for name in TABLES["data_issues"].sources:
            columns = ", ".join(f'"{c.name}" {c.type}' for c in TABLES[name].columns)
            connection.execute(f"CREATE TABLE {name} ({columns})")
        connection.execute(
            f"""
            CREATE TABLE answers AS SELECT 's' AS session_id, col0::{TIME} AS requested_at, col1::{TIME} AS received_at,
                col2 AS outcome, col1 AS body_sha256, 200 AS http_status, NULL::VARCHAR AS detail FROM (VALUES
                    ('2026-01-05 11:59:00', '2026-01-05 12:00:00', 'fulfilled'),
                    ('2026-01-{asked}', '2026-01-{answered}', '{outcome}'));
            INSERT INTO final_and_malformed_answers BY NAME
                SELECT session_id, received_at, outcome, body_sha256 FROM answers WHERE outcome <> 'pending';
            INSERT INTO purchases BY NAME SELECT session_id, 'fulfilled' AS status, max(requested_at) AS last_polled_at,
                '2026-01-05 12:00:00'::{TIME} AS resolved_at FROM answers GROUP BY session_id;
            """
        )
        for day in (5, 6):
            connection.execute(
                "CREATE OR REPLACE VIEW status_responses AS "
                f"FROM answers WHERE received_at::DATE = DATE '2026-01-{day:02}'"
            )
            start = minutes_of(f"2026-01-{day:02}")[0]
            connection.execute("SET VARIABLE part_start = $start", {"start": start})
            connection.execute(f"INSERT INTO session_day_polls BY NAME {query(TABLES['session_day_polls'])}")
        connection.execute(f"INSERT INTO late_requests {query(TABLES['late_requests'])}")
        found = connection.execute(query(TABLES["data_issues"])).fetchall()
    assert [row[0] for row in found] == ["contradicting_answer"] * (answered > "05 12:00:00")
