"""Making the tables anew from raw: those of today, and those of a moment of the past."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest

from pipeline import steps
from pipeline.clock import now
from pipeline.schema import PUBLISHED, TABLES
from pipeline.schema.intermediate import SUBMISSION_DAYS
from pipeline.schema.raw import PENDING_SESSIONS, STATUS_RESPONSES
from pipeline.schema.staging import FULFILLED_RESULTS, PULLS, PURCHASES
from pipeline.schema.table import Table
from pipeline.simulator.server import FAILED, PENDING, Simulator
from pipeline.sources.inbox import Inbox
from pipeline.sources.intake import take_in
from pipeline.sources.kinds import SESSIONS
from pipeline.steps import SnapshotError, Workspace
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.errors import DataDirectoryError
from pipeline.storage.objects import Store
from pipeline.storage.raw_log import Response, ResponseLog
from pipeline.transform import fulfilled_answers
from pipeline.transform.builder import Builder
from pipeline.transform.strategies import purchases
from tests.support.answers import fulfilled
from tests.support.command_line import assert_one_line_error, phygitals_here
from tests.support.lake import hashes_of, lake_hashes
from tests.support.workspace import drop, refresh, rows

FIRST_DAY = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def workspace(api):
    """Two days of work: a session that resolves at once, one that does so a day later, one that fails then."""
    scripts = {
        "early": [fulfilled("early")],
        "late": [PENDING, fulfilled("late", {"id": "a"}, {"id": "b"})],
        "lost": [PENDING, FAILED],
    }
    api(Simulator(delay_scale=0, hold=0, scripts=scripts))
    workspace = Workspace.open()
    return Workspace(workspace.settings.model_copy(update={"poll_interval": 5.0, "poll_budget": 0.5}), workspace.data)


@pytest.fixture
def data(tmp_path):
    data = DataDirectory(tmp_path / "history")
    data.claim("local", "none")
    return data


def stopped(moment: datetime) -> Callable[[], datetime]:
    """A clock that shows one moment."""
    return lambda: moment


def session_answered_at(moment):
    return f"s{moment.timestamp():.0f}"


def answered_on(data, moment, session=None):
    """A session that was answered on a day, in raw."""
    at = int(moment.timestamp() * 1_000_000)
    log = ResponseLog(data, STATUS_RESPONSES, moment)
    session = session or session_answered_at(moment)
    body = fulfilled(session, {"id": "a"}).body
    log.append(Response(session, at, at, 200, "application/json", body, "fulfilled", None))
    log.close()


def submit_in_the_past(workspace, sessions_by_days_ago, monkeypatch):
    """Takes in a file of sessions on each of some days."""
    for days_ago, sessions in sessions_by_days_ago.items():
        with monkeypatch.context() as past:
            past.setattr(steps, "now", lambda ago=days_ago: now() - timedelta(days=ago))
            drop(workspace, f"{days_ago}.txt", sessions)
            workspace.take_in()


def everything(path) -> dict[str, list[tuple]]:
    with duckdb.connect(path, read_only=True) as connection:
        return {table.name: connection.execute(f"FROM {table.name}").fetchall() for table in PUBLISHED}


def test_a_rebuild_gives_the_same_rows_in_the_same_order(workspace):
    drop(workspace, "a.txt", "early\nlate\nlost\n")
    refresh(workspace)
    refresh(workspace)
    before, published = lake_hashes(workspace), everything(workspace.data.warehouse)
    shutil.rmtree(workspace.data.root / "lake" / "pulls")
    (workspace.data.root / "lake" / "items" / "items.parquet").write_bytes(b"broken")
    workspace.rebuild()
    assert lake_hashes(workspace) == before
    assert everything(workspace.data.warehouse) == published


def test_a_history_too_long_to_be_held_at_once_gives_the_same_rows(workspace, monkeypatch):
    submissions = {days_ago: f"first-{days_ago}\nsecond-{days_ago}\n" for days_ago in (3, 2, 1)}
    submit_in_the_past(workspace, submissions, monkeypatch)
    refresh(workspace)
    before = lake_hashes(workspace)
    assert len(workspace.data.store.parts(PURCHASES)) == 3
    for sessions_at_once in (1, 4):
        monkeypatch.setattr(purchases, "_SESSIONS_AT_ONCE", sessions_at_once)
        workspace.rebuild()
        assert lake_hashes(workspace) == before


def test_a_day_of_more_answers_than_are_held_at_once_gives_the_same_rows(data, monkeypatch):
    """Plain and strange ones, of which three came in the same instant, and one session has two."""
    items: dict[str, dict[str, Any]]
    items = {"plain": {"id": "a"}, "odd": {"id": 5}, "other": {"id": "b"}, "twice": {"id": "c"}, "none": {}}
    answers = [(name, name, 0 if name in ("plain", "odd", "other") else 1) for name in items] + [("twice", "plain", 2)]
    at = int(FIRST_DAY.timestamp() * 1_000_000)
    log = ResponseLog(data, STATUS_RESPONSES, FIRST_DAY)
    for session, content, later in answers:
        body = fulfilled(session, items[content]).body
        log.append(Response(session, at, at + later, 200, "application/json", body, "fulfilled", None))
    log.close()
    found = []
    for bytes_at_once in (1_000_000, 1, 5_000, 10_000):
        monkeypatch.setattr(fulfilled_answers, "_BYTES_AT_ONCE", bytes_at_once)
        with data.exclusive(), Builder(data, FIRST_DAY, 0) as builder, connect(data) as connection:
            builder.forget_all()
            builder.build(FULFILLED_RESULTS)
            results = data.store.scan(FULFILLED_RESULTS)
            found.append(connection.execute(f"FROM {results} ORDER BY session_id").fetchall())
    assert [row[0] for row in found[0]] == sorted(items)
    assert all(rows == found[0] for rows in found)


@pytest.mark.parametrize("is_new", [True, False], ids=["days anew", "nothing new"])
def test_the_lake_is_listed_no_oftener_in_a_long_history(data, monkeypatch, is_new):
    listed, listings = [], []
    whole = Store.parts

    def noted(store: Store, table: Table) -> dict[str, list[str]]:
        listed.append(table.name)
        return whole(store, table)

    monkeypatch.setattr(Store, "parts", noted)
    for day_count in (2, 12):
        for day in range(day_count):
            answered_on(data, FIRST_DAY + timedelta(days=day))
        with data.exclusive(), Builder(data, FIRST_DAY, 0) as builder:
            builder.build_published()
        if is_new:
            shutil.rmtree(data.root / "staging")
            shutil.rmtree(data.root / "lake")
        listed.clear()
        with data.exclusive(), Builder(data, FIRST_DAY, 0) as builder:
            builder.build_published()
        listings.append(len(listed))
    assert 0 < listings[0] == listings[1]


def test_a_day_is_built_from_those_purchases_alone_that_may_have_been_resolved_on_it(data, monkeypatch):
    """Else the cost of building a history anew would grow with the square of its days."""
    moments = [FIRST_DAY + timedelta(days=day) for day in range(4)]
    late = moments[2] + timedelta(hours=1)
    for moment, sessions in zip(moments, ([moments[0], late], *([m] for m in moments[1:])), strict=True):
        (data.inbox / "a.txt").write_text("".join(f"{session_answered_at(at)}\n" for at in sessions))
        take_in(data, stopped(moment), Inbox(data, SESSIONS))
    for moment in (*moments, late):
        answered_on(data, moment)
    days = [f"{moment:%Y-%m-%d}" for moment in moments]
    looked_at, scan = [], Store.scan

    def watched(self, table, parts=None):
        if table is PURCHASES and parts is not None:
            looked_at.append(parts)
        return scan(self, table, parts)

    monkeypatch.setattr(Store, "scan", watched)
    with data.exclusive(), Builder(data, FIRST_DAY, 0) as builder:
        builder.build(PURCHASES)
        looked_at.clear()
        assert builder.build(PULLS).written == days
    # The first day's were resolved on the first day and on the third, and statistics know no gap.
    assert looked_at == [[days[0]], [days[0], days[1]], [days[0], days[2]], [days[3]]]
    with connect(data) as connection:
        assert connection.execute(f"SELECT count(*) FROM {data.store.scan(PULLS)}").fetchone() == (5,)


def test_pending_sessions_are_looked_for_only_on_days_that_may_have_some(workspace, monkeypatch):
    submit_in_the_past(workspace, {3: "early", 2: "late", 1: "lost"}, monkeypatch)
    refresh(workspace)

    def looked_for():
        with workspace.pending_sessions() as connection:
            found = connection.execute("SELECT session_id FROM pending_sessions ORDER BY submitted_at").fetchall()
            return connection.execute("SELECT count(*) FROM chosen_days").fetchone()[0], found

    assert looked_for() == (2, [("late",), ("lost",)])
    drop(workspace, "again.txt", "early\nnew\n")
    workspace.take_in()
    assert looked_for() == (3, [("late",), ("lost",), ("new",)])
    with workspace.builder() as builder:
        builder.forget_all()
    assert looked_for() == (4, [("late",), ("lost",), ("new",)])


@pytest.mark.parametrize("sessions_at_once", [1, 3, 1000])
def test_a_history_too_long_to_be_looked_through_at_once_has_the_same_sessions_pending(
    workspace, monkeypatch, sessions_at_once
):
    """As after an update that changed the SQL of purchases, when no day is known to be settled."""
    submit_in_the_past(workspace, {3: "early\nlate\n", 2: "late\nlost\n", 1: "late\nearly\n"}, monkeypatch)
    refresh(workspace)
    with workspace.pending_sessions() as connection:
        expected = sorted(connection.execute("FROM pending_sessions").fetchall())
    assert [row[0] for row in expected] == ["late", "lost"]
    monkeypatch.setattr(purchases, "_SESSIONS_AT_ONCE", sessions_at_once)
    with workspace.builder() as builder:
        builder.forget_all()
        builder.build(PENDING_SESSIONS)
    with connect(workspace.data) as connection:
        found = connection.execute(f"FROM {workspace.data.store.scan(PENDING_SESSIONS)}").fetchall()
    assert sorted(found) == expected


def test_a_rebuild_removes_days_that_raw_does_not_have(workspace):
    drop(workspace, "a.txt", "early\n")
    refresh(workspace)
    pulls = workspace.data.root / "lake" / "pulls"
    (only,) = pulls.iterdir()
    shutil.copy(only, pulls / "2020-01-01.parquet")
    workspace.rebuild()
    assert list(pulls.iterdir()) == [only]
    assert rows(workspace, "SELECT count(*) FROM pulls") == [(1,)]


class Killed(BaseException):
    """Ends the work as a kill does, at a moment of the test's choice."""


def kill_after_writing(table, monkeypatch):
    def write_and_die(self, written, *arguments):
        count = write(self, written, *arguments)
        if written is table:
            raise Killed
        return count

    write = Store.write
    monkeypatch.setattr(Store, "write", write_and_die)


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_day_that_goes_from_raw_and_comes_back_leaves_the_tables_of_a_rebuild(is_killed, data, tmp_path, monkeypatch):
    """As when a damaged object is put aside, its session asked again, and the object then restored from a backup."""
    (data.inbox / "a.txt").write_text("s\nother\n")
    take_in(data, lambda: FIRST_DAY, Inbox(data, SESSIONS))
    answered_on(data, FIRST_DAY, "s")
    later = FIRST_DAY + timedelta(days=2)
    day = data.root / "raw" / "status_responses" / f"{FIRST_DAY:%Y-%m-%d}"

    def built() -> tuple[int, set[str | None]]:
        with data.exclusive(), Builder(data, later, 0) as builder:
            builder.build_published()
        with connect(data) as connection:
            ((pulls,),) = connection.execute(f"SELECT count(*) FROM {data.store.scan(PULLS)}").fetchall()
            resolved = f"SELECT resolved_at::DATE::VARCHAR FROM {data.store.scan(PURCHASES)} WHERE session_id = 's'"
            return pulls, {on for (on,) in connection.execute(resolved).fetchall()}

    assert built() == (1, {f"{FIRST_DAY:%Y-%m-%d}"})
    shutil.move(day, tmp_path / "aside")
    assert built() == (0, {None})
    answered_on(data, later, "s")
    assert built() == (1, {f"{later:%Y-%m-%d}"})
    shutil.move(tmp_path / "aside", day)
    if is_killed:
        with monkeypatch.context() as patch, pytest.raises(Killed):
            kill_after_writing(PURCHASES, patch)
            built()
    assert built() == (1, {f"{FIRST_DAY:%Y-%m-%d}"})
    incremental = hashes_of(data)
    with data.exclusive(), Builder(data, later, 0) as builder:
        builder.forget_all()
        builder.build_published()
    assert hashes_of(data) == incremental


def test_the_past_is_what_had_been_received_by_then(workspace, tmp_path):
    drop(workspace, "a.txt", "early\nlate\n")
    refresh(workspace)
    then, past = now(), everything(workspace.data.warehouse)
    drop(workspace, "b.txt", "lost\n")
    refresh(workspace)
    today = everything(workspace.data.warehouse)
    assert today != past
    workspace.rebuild_as_of(then, tmp_path / "past")
    assert everything(tmp_path / "past" / "phygitals.duckdb") == past
    assert everything(workspace.data.warehouse) == today
    workspace.rebuild_as_of(then - timedelta(days=400), tmp_path / "before")
    assert not any(everything(tmp_path / "before" / "phygitals.duckdb").values())


def test_a_session_that_expired_since_was_pending_in_the_past(workspace, tmp_path, monkeypatch):
    drop(workspace, "a.txt", "late\n")
    refresh(workspace)
    then = now()
    monkeypatch.setattr(steps, "now", lambda: now() + timedelta(days=30))
    refresh(workspace)
    assert rows(workspace, "SELECT status FROM purchases") == [("expired",)]
    workspace.rebuild_as_of(then, tmp_path / "past")
    assert [row[1] for row in everything(tmp_path / "past" / "phygitals.duckdb")["purchases"]] == ["pending"]


def test_no_run_writes_into_the_past(workspace, tmp_path, configure):
    drop(workspace, "a.txt", "early\n")
    refresh(workspace)
    workspace.rebuild_as_of(now(), tmp_path / "past")
    configure(data_dir=tmp_path / "past")
    with pytest.raises(DataDirectoryError, match="holds data of production as of"):
        Workspace.open()


def test_a_folder_that_has_something_in_it_is_refused(workspace, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(SnapshotError, match="is not empty"):
        workspace.rebuild_as_of(now(), tmp_path / "full")


def test_the_command_rebuilds_today_and_the_past(workspace, tmp_path):
    drop(workspace, "a.txt", "early\n")
    refresh(workspace)
    assert "1 pulls" in phygitals_here("rebuild").stdout
    into = str(tmp_path / "past")
    past = phygitals_here("rebuild", "--as-of", "2020-01-01T00:00", "--into", into)
    assert "0 pulls" in past.stdout, past.stderr
    assert phygitals_here("rebuild", "--as-of", "2020-01-01").returncode == 2
    assert phygitals_here("rebuild", "--as-of", "then", "--into", str(tmp_path / "x")).returncode == 2
    assert_one_line_error(phygitals_here("rebuild", "--as-of", "2020-01-01", "--into", into), "not empty")


def test_what_is_published_is_of_one_state_of_the_data(workspace):
    drop(workspace, "a.txt", "early\n")
    refresh(workspace)
    drop(workspace, "b.txt", "late\n")
    workspace.take_in()
    with workspace.builder() as builder:
        builder.build(TABLES["pending_sessions"])
    workspace.poll(lambda _: None)
    workspace.poll(lambda _: None)
    with workspace.builder() as builder:
        builder.build(TABLES["purchases"])
        builder.build(TABLES["pulls"])
    workspace.publish()
    assert rows(workspace, "SELECT count(*) FROM pulls") == rows(workspace, "SELECT sum(pull_count) FROM item_types")


def test_the_sessions_of_a_day_are_summed_up_anew_only_when_an_answer_came_for_one_of_them(data):
    moments = [FIRST_DAY + timedelta(days=day) for day in range(3)]
    days = [f"{moment:%Y-%m-%d}" for moment in moments]
    late = moments[2] + timedelta(hours=1)
    for moment, sessions in zip(moments, ([moments[0]], [moments[1], late], [moments[2]]), strict=True):
        (data.inbox / "a.txt").write_text("".join(f"{session_answered_at(at)}\n" for at in sessions))
        take_in(data, stopped(moment), Inbox(data, SESSIONS))
    for moment in moments[:2]:
        answered_on(data, moment)
    written = []
    for _ in range(3):
        with data.exclusive(), Builder(data, FIRST_DAY, 0) as builder:
            builder.build(PURCHASES)
            written.append(builder.build(SUBMISSION_DAYS).written)
        if len(written) == 1:
            answered_on(data, late)
    assert written == [days, [days[1]], []]


def test_a_day_of_purchases_that_a_run_touched_and_did_not_change_is_left_as_it_is(api):
    api(Simulator(delay_scale=0, hold=0))
    workspace = Workspace.open()
    for age in (3, 2):
        drop(workspace, f"{age}.txt", "".join(f"{age}-{i}\n" for i in range(5)))
        with workspace.data.exclusive():
            take_in(workspace.data, stopped(now() - timedelta(days=age)), Inbox(workspace.data, SESSIONS))
    refresh(workspace)
    drop(workspace, "today.txt", "today\n")
    workspace.take_in()
    with workspace.builder() as builder:
        builder.build(PENDING_SESSIONS)
    workspace.poll(lambda _progress: None)
    with workspace.builder() as builder:
        report = builder.build(PURCHASES)
        assert (report.written, report.unchanged_count) == ([f"{now():%Y-%m-%d}"], 2)
        builder.build_published()
    before = lake_hashes(workspace)
    workspace.rebuild()
    assert lake_hashes(workspace) == before
