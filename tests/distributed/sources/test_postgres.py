"""Session ids from a PostgreSQL query: which rows are read, once, by the rules of the inbox."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from pipeline.sources import postgres
from pipeline.steps import Workspace
from tests.support.intake import taken_in
from tests.support.machines import Machines
from tests.support.workspace import build_all, drop, rows

NOTHING = (0, 0, 0, 0)


def take_in() -> tuple[int, ...]:
    """Rows read, accepted, duplicates, rejected."""
    report = Workspace.open().take_in()
    assert report.left == {}
    read, *verdicts = (report.total(count) for count in ("rows_read", "accepted", "duplicates", "rejected"))
    assert read == sum(verdicts)
    return read, *verdicts


def ids() -> list[str]:
    return sorted(row["session_id"] for row in taken_in(Workspace.open()) if row["rejected_reason"] is None)


def objects() -> list[str]:
    return sorted(path.name for path in Workspace.open().data.raw.rglob("*.parquet"))


def test_rows_come_with_their_details_and_a_name_without_host_and_user(shop):
    shop.cluster.run(
        "INSERT INTO purchases (session_id, pack_id, price_usd, quantity, user_id, created_at) "
        "VALUES ('s1', 'elite-50', 12.34565, 2, 'u1', '2026-03-01 10:00:00.5+02')",
        "INSERT INTO purchases (session_id, pack_id) VALUES (' s2 ', '')",
    )
    (report,) = Workspace.open().take_in().files
    assert report.line == "postgresql: shop: 2 rows read = 2 accepted + 0 duplicates + 0 rejected"
    first, second = sorted(taken_in(Workspace.open()), key=lambda row: row["session_id"])
    assert first["initiated_at"] == datetime(2026, 3, 1, 8, 0, 0, 500_000, tzinfo=UTC)
    assert (first["pack_id"], first["price_usd"], first["quantity"], first["user_id"]) == (
        "elite-50",
        Decimal("12.3457"),
        2,
        "u1",
    )
    assert (first["source_file"], first["source_cursor"]) == ("postgresql: shop", "2026-03-01 08:00:00.5+00")
    assert (second["session_id"], second["pack_id"], second["price_usd"]) == ("s2", None, None)


def test_a_bad_row_is_rejected_with_its_reason_and_its_cursor_and_stops_no_other(shop):
    shop.add("a", "a b", None, "b")
    shop.add("c", price="-1")
    shop.cluster.run("INSERT INTO purchases (session_id, created_at) VALUES ('d', 'infinity')")
    assert take_in() == (6, 2, 0, 4)
    reasons = {row["rejected_reason"] for row in taken_in(Workspace.open())} - {None}
    assert reasons == {
        "session_id has white space or unprintable characters",
        "session_id is empty",
        "initiated_at is not an ISO 8601 time",
        "price_usd is not in the range from 0 to below 10^11",
    }


def test_the_findings_name_the_row_by_its_cursor(shop):
    shop.cluster.run("INSERT INTO purchases (session_id, quantity, created_at) VALUES ('s', 0, '2026-03-01 00:00+00')")
    workspace = Workspace.open()
    workspace.take_in()
    build_all(workspace)
    workspace.publish()
    assert rows(workspace, "SELECT rule, session_id, source, field, raw_value FROM data_issues") == [
        ("rejected_row", "s", "postgresql: shop, cursor 2026-03-01 00:00:00+00", "quantity", "0")
    ]


def test_rows_that_were_read_are_not_read_again_rejected_ones_neither(shop):
    shop.add("a", "b", None, "c d", "a")
    assert take_in() == (5, 2, 1, 2)
    before = objects()
    assert take_in() == NOTHING
    shop.add("e")
    assert take_in() == (1, 1, 0, 0)
    assert take_in() == NOTHING
    assert len(objects()) == len(before) + 1
    assert ids() == ["a", "a", "b", "e"]


def test_a_row_that_is_committed_after_later_ones_were_read_is_found(shop):
    with shop.adding("late"):
        shop.add("early")
        assert take_in() == (1, 1, 0, 0)
    assert take_in() == (1, 1, 0, 0)
    assert take_in() == NOTHING
    assert ids() == ["early", "late"]


@pytest.mark.parametrize(("ago", "is_found"), [("59 min", True), ("61 min", False)])
def test_a_row_may_come_an_hour_after_rows_with_a_higher_cursor(shop, ago, is_found):
    shop.add("a")
    take_in()
    shop.cluster.run(
        f"INSERT INTO purchases (session_id, created_at) SELECT 'b', created_at - interval '{ago}' FROM purchases"
    )
    assert take_in() == ((1, 1, 0, 0) if is_found else NOTHING)


def test_a_changed_query_reads_all_rows_again_and_adds_the_unknown_ones(shop, configure):
    shop.add("a", "b")
    take_in()
    shop.add("old", ago="3 h")
    assert take_in() == NOTHING
    configure(submissions_query=f"{shop.QUERY} -- again")
    assert take_in() == (1, 1, 0, 0)
    assert take_in() == NOTHING
    assert ids() == ["a", "b", "old"]


def test_a_number_may_be_the_cursor(shop, configure):
    configure(submissions_query="SELECT session_id, number AS cursor FROM purchases;")
    with shop.adding("late"):
        shop.add("early")
        assert take_in() == (1, 1, 0, 0)
    assert take_in() == (1, 1, 0, 0)
    assert take_in() == NOTHING
    assert sorted(row["source_cursor"] for row in taken_in(Workspace.open())) == ["1", "2"]


def test_numbers_are_read_again_from_a_hundred_thousand_below_the_highest(shop, configure):
    configure(submissions_query="SELECT session_id, quantity AS cursor FROM purchases")
    shop.cluster.run("INSERT INTO purchases (session_id, quantity) VALUES ('a', 200000)")
    take_in()
    shop.cluster.run("INSERT INTO purchases (session_id, quantity) VALUES ('b', 100000), ('c', 99999)")
    assert take_in() == (1, 1, 0, 0)
    assert ids() == ["a", "b"]


def test_a_time_without_a_zone_is_taken_as_utc(shop, configure):
    configure(submissions_query="SELECT session_id, created_at AT TIME ZONE 'UTC' AS \"Cursor\" FROM purchases")
    shop.add("a")
    assert take_in() == (1, 1, 0, 0)
    assert take_in() == NOTHING
    shop.add("b")
    assert take_in() == (1, 1, 0, 0)


@pytest.mark.parametrize("moment", ["now() + interval '10 years'", "'infinity'", "'20000-01-01'"])
def test_a_clock_ahead_hides_no_row_of_the_meantime(shop, moment):
    shop.cluster.run(f"INSERT INTO purchases (session_id, created_at) VALUES ('ahead', {moment}), (NULL, {moment})")
    read = take_in()
    assert read[0] == 2
    shop.add("a")
    assert take_in() == (1, 1, 0, 0)
    assert take_in() == NOTHING


def test_a_cursor_before_christ_is_read_like_others(shop):
    shop.cluster.run("INSERT INTO purchases (session_id, created_at) VALUES ('a', '0044-03-15 BC'), ('b', '-infinity')")
    assert take_in()[0] == 2
    shop.add("c")
    assert take_in() == (1, 1, 0, 0)


def test_a_session_that_a_file_brought_adds_nothing_with_the_same_details(shop, configure):
    configure(submissions_query="SELECT session_id, price_usd, created_at AS cursor FROM purchases")
    drop(Workspace.open(), "a.csv", "session_id,price_usd\na,5\nb,5\nc,5\n")
    Workspace.open().take_in()
    shop.add("a", price=5)
    shop.add("b")
    shop.add("c", price=6)
    assert take_in() == (1, 0, 1, 0)
    assert take_in() == NOTHING
    workspace = Workspace.open()
    build_all(workspace)
    workspace.publish()
    ((rule, session, source, detail),) = rows(workspace, "SELECT rule, session_id, source, detail FROM data_issues")
    assert (rule, session) == ("conflicting_submission", "c")
    assert source.startswith("postgresql: shop, cursor 20")
    assert "price_usd 6.0000 instead of 5.0000" in detail


def test_a_row_whose_cursor_moved_is_read_again_only_with_other_details(shop):
    shop.add("a", price=5)
    take_in()
    shop.cluster.run("UPDATE purchases SET created_at = now()")
    # The query gives the cursor as initiated_at, too; here it is the cursor alone that moves.
    assert take_in() == (1, 0, 1, 0)
    shop.cluster.run("UPDATE purchases SET pack_id = 'elite-50'")
    assert take_in() == NOTHING
    shop.cluster.run("UPDATE purchases SET created_at = now()")
    assert take_in() == (1, 0, 1, 0)


def test_a_long_tail_of_known_sessions_is_read_once(shop, configure, monkeypatch):
    monkeypatch.setattr(postgres, "ROWS_IN_BATCH", 10)
    configure(submissions_query="SELECT session_id, created_at AS cursor FROM purchases")
    drop(Workspace.open(), "a.txt", "\n".join(f"s{i}" for i in range(25)))
    Workspace.open().take_in()
    for i in range(25):
        shop.add(f"s{i}", ago=f"{100 - i} hours")
    assert take_in() == NOTHING
    objects_before = objects()
    assert len(objects_before) == 3  # of the file, and of each whole batch
    assert take_in() == NOTHING
    assert objects() == objects_before
    shop.add("new")
    assert take_in() == (1, 1, 0, 0)


def test_many_batches_are_one_line_of_the_report(shop, monkeypatch):
    monkeypatch.setattr(postgres, "ROWS_IN_BATCH", 10)
    shop.add(*(f"s{i}" for i in range(95)))
    (report,) = Workspace.open().take_in().files
    assert (report.source_file, report.rows_read, report.accepted) == ("postgresql: shop", 95, 95)
    assert len(objects()) == 10
    assert take_in() == NOTHING


def kill_in(method: str) -> None:
    """Takes in, with batches of ten rows, in a process that kills itself when the source's method is called."""
    program = f"""
import os, signal
from pipeline.sources import postgres
from pipeline.steps import Workspace
postgres.ROWS_IN_BATCH = 10
postgres.DatabaseSource.{method} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
Workspace.open().take_in()
"""
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -signal.SIGKILL


def test_a_kill_after_a_batch_loses_no_row_and_doubles_none(shop):
    shop.add(*(f"s{i:02}" for i in range(25)))
    kill_in("mark_read")
    assert len(ids()) == 10
    assert take_in() == (15, 15, 0, 0)
    assert ids() == [f"s{i:02}" for i in range(25)]


def test_a_kill_before_the_record_is_saved_adds_nothing(shop):
    shop.add("a", "b")
    kill_in("save")
    before = objects()
    assert len(before) == 1
    assert take_in() == NOTHING
    assert objects() == before


def test_the_watermark_is_in_raw_alone(shop, tmp_path):
    shop.add("old", ago="3 h")
    shop.add("a")
    take_in()
    for record in (Workspace.open().data.root / "staging").iterdir():
        record.unlink()
    shop.add("b")
    shop.add("hidden", ago="2 h")
    assert take_in() == (1, 1, 0, 0)
    assert ids() == ["a", "b", "old"]


def test_another_machine_reads_on_where_a_lost_one_stopped(shop, lake_url, tmp_path, monkeypatch, configure):
    machines = Machines(tmp_path, monkeypatch, configure)
    shop.add("old", ago="3 h")
    shop.add("a", "b c")
    machines.use("first", lake_url)
    assert take_in() == (3, 2, 0, 1)
    machines.wipe("first")
    second = machines.use("second", lake_url)
    database = second.database()
    assert database is not None and database.unread() is None
    assert take_in() == NOTHING
    shop.add("d")
    assert database.unread() is not None
    assert take_in() == (1, 1, 0, 0)
    assert ids() == ["a", "d", "old"]


def test_rows_are_added_in_a_database_without_an_encoding(database, configure):
    with database.connect("postgres") as connection:
        connection.execute("DROP DATABASE IF EXISTS bytes")
        connection.execute("CREATE DATABASE bytes ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    with database.connect("bytes") as connection:
        connection.execute("CREATE TABLE ids (session_id text, at timestamptz DEFAULT now())")
        connection.execute("GRANT SELECT ON ids TO phygitals")
        connection.execute(b"INSERT INTO ids VALUES ('good'), (E'caf\\xc3\\xa9'), (E'bad\\xff')")
    configure(submissions_url=database.url(database="bytes"), submissions_query="SELECT *, at AS cursor FROM ids")
    assert take_in() == (3, 2, 0, 1)
    assert take_in() == NOTHING
    assert ids() == ["café", "good"]


def test_values_of_any_type_are_judged_row_by_row(shop, configure):
    shop.cluster.run(
        "CREATE TABLE odd (id uuid, day date, pack jsonb, price text, amount double precision, at timestamptz)",
        "INSERT INTO odd VALUES "
        "('7b1e7b44-6f0d-4d7a-b6a3-111111111111', '2026-03-01', '\"p\"', '5', 2, '2026-03-01'), "
        "('7b1e7b44-6f0d-4d7a-b6a3-222222222222', 'infinity', '\"p\"', '5', 2, '2026-03-01'), "
        "('7b1e7b44-6f0d-4d7a-b6a3-333333333333', '2026-03-01', '[1]', '5', 2, '2026-03-01'), "
        "('7b1e7b44-6f0d-4d7a-b6a3-444444444444', '2026-03-01', '\"p\"', 'five', 2, '2026-03-01'), "
        "('7b1e7b44-6f0d-4d7a-b6a3-555555555555', '2026-03-01', '\"p\"', '5', 'NaN', '2026-03-01')",
    )
    configure(
        submissions_query="SELECT id AS session_id, day AS initiated_at, pack AS pack_id, price AS price_usd, "
        "amount AS quantity, at AS cursor FROM odd"
    )
    assert take_in() == (5, 1, 0, 4)
    reasons = {row["session_id"][-1]: row["rejected_reason"] for row in taken_in(Workspace.open())}
    assert reasons == {
        "1": None,
        "2": "initiated_at is not an ISO 8601 time",
        "3": "pack_id is not text",
        "4": "price_usd is not a number",
        "5": "quantity is not a finite number",
    }


def test_ignored_columns_are_named_and_not_even_read(shop, configure):
    configure(submissions_query="SELECT *, created_at AS cursor, 'infinity'::date AS other FROM purchases")
    shop.add("a")
    report = Workspace.open().take_in()
    assert "postgresql: shop: ignored columns: created_at, number, other" in report.lines
