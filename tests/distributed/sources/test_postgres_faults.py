"""A database that cannot be read: one line each, the inbox is served, and no password is anywhere."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path
from urllib.parse import quote, unquote

import pytest

from pipeline.cli.status import status_of
from pipeline.simulator.server import Simulator
from pipeline.sources import postgres
from pipeline.sources.intake import IntakeReport
from pipeline.sources.postgres import DatabaseBatch, DatabaseSource
from pipeline.steps import Workspace
from tests.support.command_line import phygitals, phygitals_here
from tests.support.intake import taken_in
from tests.support.json_schemas import described
from tests.support.postgresql import OWNER, OWNERS_PASSWORD, PASSWORD, READER
from tests.support.workspace import drop

SECRETS = (PASSWORD, quote(PASSWORD, safe=""), quote(PASSWORD), unquote(PASSWORD))


def reason(name: str = "postgresql: shop") -> str:
    """Why the database was not read. The inbox is read beside it, and the status says the same until a run succeeds."""
    workspace = Workspace.open()
    drop(workspace, "beside.txt", "beside\n")
    report = workspace.take_in()
    assert list(report.left) == [name]
    found = report.left[name]
    assert "\n" not in found and not has_secret(found)
    assert "beside" in {row["session_id"] for row in taken_in(workspace)}
    (need,) = status_of(Workspace.open_for_reading()).needs_person
    assert (need.reason, need.message) == ("database_unread", f"{name}: {found}; then run `phygitals refresh`")
    return found


def has_secret(text: str) -> bool:
    return any(secret in text for secret in SECRETS)


def read() -> IntakeReport:
    report = Workspace.open().take_in()
    assert report.left == {}
    assert status_of(Workspace.open_for_reading()).needs_person == []
    return report


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (
            "SELECT session_id, created_at AS cursor FROM purchasess",
            'relation "purchasess" does not exist; correct PHYG',
        ),
        ("SELEC session_id", 'syntax error at or near "SELEC"; correct PHYGITALS_SUBMISSIONS_QUERY'),
        (
            "SELECT 1 AS session_id, 2 AS cursor; DROP TABLE purchases",
            "cannot insert multiple commands into a prepared",
        ),
        (
            "DELETE FROM purchases RETURNING session_id, created_at AS cursor",
            'syntax error at or near "DELETE"; correct PHYGITALS_SUBMISSIONS_QUERY',
        ),
        (
            "WITH gone AS (DELETE FROM purchases RETURNING *) SELECT session_id, created_at AS cursor FROM gone",
            "must not contain data-modifying statements in WITH; correct PHYGITALS_SUBMISSIONS_QUERY",
        ),
        (
            'SELECT session_id AS "a\nb" FROM purchases',
            "the query has no column session_id and no column cursor (it has ",
        ),
        ("SELECT session_id FROM purchases", "the query has no column cursor (it has session_id); correct PHYG"),
        ("SELECT created_at AS cursor FROM purchases", "the query has no column session_id (it has cursor)"),
        ("SELECT 1", "the query has no column session_id and no column cursor (it has ?column?)"),
        (
            'SELECT session_id, created_at AS cursor, user_id AS "Session_ID" FROM purchases',
            "the query repeats session_id; name each column once",
        ),
        (
            "SELECT session_id, session_id AS cursor FROM purchases",
            "cursor is of type text; use timestamptz, timestamp (taken as UTC) or an integer type",
        ),
        ("SELECT session_id, created_at::date AS cursor FROM purchases", "cursor is of type date; use timestamptz"),
        ("SELECT session_id, quantity AS cursor FROM purchases", "the query has rows whose cursor is NULL; give each"),
        ("SELECT session_id, 1/0 AS cursor FROM purchases", "division by zero; correct PHYGITALS_SUBMISSIONS_QUERY"),
        ("SELECT session_id, created_at AS cursor FROM hidden", "permission denied for table hidden; grant SELECT"),
        (
            "SELECT session_id, nextval('numbers') AS cursor FROM purchases",
            "cannot execute nextval() in a read-only transaction",
        ),
    ],
)
def test_a_wrong_query_is_one_line(query, words, shop, configure):
    shop.cluster.run(
        "CREATE TABLE hidden (session_id text, created_at timestamptz)",
        f"REVOKE ALL ON hidden FROM {READER}",
        "CREATE SEQUENCE numbers",
        f"GRANT ALL ON SEQUENCE numbers TO {READER}",
    )
    shop.add("a")
    configure(submissions_query=query)
    assert words in reason()
    configure(submissions_query=shop.QUERY)
    assert read().total("accepted") == 1


def test_a_refused_login_is_one_line(shop, configure):
    configure(submissions_url=shop.cluster.url(password="x" + PASSWORD))
    assert f'password authentication failed for user "{READER}"; check PHYGITALS_SUBMISSIONS_URL and the' in reason()


def test_a_database_that_is_not_there_is_one_line(shop, configure):
    configure(submissions_url=shop.cluster.url(database="none"))
    assert 'database "none" does not exist; check PHYGITALS_SUBMISSIONS_URL' in reason("postgresql: none")


@pytest.mark.parametrize(
    ("place", "words"), [("127.0.0.1:1", "Connection refused"), ("nowhere.invalid", "failed to resolve host")]
)
def test_a_host_that_cannot_be_reached_is_one_line(place, words, shop, configure):
    configure(submissions_url=f"postgres://{READER}:{quote(PASSWORD, safe='')}@{place}/shop")
    assert words in reason()


def test_a_server_that_does_not_answer_is_given_up(shop, configure):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = f"127.0.0.1:{silent.getsockname()[1]}"
        configure(submissions_url=f"postgres://{READER}:{quote(PASSWORD, safe='')}@{place}/shop?connect_timeout=2")
        assert "timeout expired" in reason()


def test_a_query_that_takes_too_long_is_one_line(shop, configure, monkeypatch):
    monkeypatch.setattr(postgres, "_READ_TIMEOUT", 1)
    shop.add("a")
    configure(submissions_query="SELECT session_id, created_at AS cursor FROM purchases, pg_sleep(60)")
    assert "statement timeout (the longest time allowed is 1 s); index the column of the cursor" in reason()


def test_a_locked_table_is_one_line(shop, monkeypatch):
    monkeypatch.setattr("pipeline.sources.postgres_connection._LOCK_TIMEOUT", 1)
    with shop.cluster.connect() as connection, connection.transaction():
        connection.execute("LOCK TABLE purchases IN ACCESS EXCLUSIVE MODE")
        assert reason() == "a table stayed locked for 1 s; end the transaction that holds the lock"


def test_a_database_that_goes_away_in_the_middle_is_read_on_by_the_next_run(shop, monkeypatch):
    monkeypatch.setattr(postgres, "ROWS_IN_BATCH", 10)
    shop.add(*(f"s{i:02}" for i in range(35)))
    mark_read = DatabaseSource.mark_read

    def then_terminate(self, batch):
        mark_read(self, batch)
        shop.cluster.run(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE application_name = 'phygitals-pipeline' AND state = 'idle in transaction'"
        )

    with monkeypatch.context() as terminating:
        terminating.setattr(DatabaseSource, "mark_read", then_terminate)
        assert "terminating connection due to administrator command" in reason()
    assert len(taken_in(Workspace.open())) == 10 + 1
    assert read().total("accepted") == 25
    assert len({row["session_id"] for row in taken_in(Workspace.open())}) == 35 + 1


def test_a_server_that_is_stopped_and_started_is_read_on(shop):
    shop.add("a")
    assert read().total("accepted") == 1
    shop.cluster.stop()
    try:
        assert "Connection refused" in reason()
    finally:
        shop.cluster.start()
    shop.add("b")
    assert read().total("accepted") == 1


def test_a_batch_that_could_not_be_written_is_not_hidden_by_the_next_one(shop, monkeypatch):
    monkeypatch.setattr(postgres, "ROWS_IN_BATCH", 10)
    for hour in range(30):
        shop.add(f"s{hour:02}", ago=f"{100 - hour} h")
    records, calls = DatabaseBatch.records, []

    def without_memory_for_the_second(self, note_unknown):
        calls.append(self)
        if len(calls) == 2:
            raise MemoryError
        return records(self, note_unknown)

    with monkeypatch.context() as short:
        short.setattr(DatabaseBatch, "records", without_memory_for_the_second)
        assert "memory" in reason()
    assert len(calls) == 2
    assert read().total("accepted") == 20


def test_names_and_text_of_any_encoding_are_read(shop, configure):
    with shop.cluster.connect("postgres") as connection:
        connection.execute("DROP DATABASE IF EXISTS latin")
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    with shop.cluster.connect("latin") as connection:
        connection.execute('CREATE TABLE "käufe" (session_id text, at timestamptz DEFAULT now())')
        connection.execute(f'GRANT SELECT ON "käufe" TO {READER}'.encode("latin-1"))
        connection.execute("INSERT INTO \"käufe\" VALUES ('café')")
    configure(
        submissions_url=shop.cluster.url(database="latin"),
        submissions_query="SELECT session_id, at AS cursor FROM \"käufe\" WHERE session_id <> 'é'",
    )
    assert read().total("accepted") == 1
    assert [row["session_id"] for row in taken_in(Workspace.open())] == ["café"]


def test_the_other_parameters_of_the_url_are_kept(shop, configure):
    configure(submissions_url=f"{shop.cluster.url()}?application_name=mine&options=-c%20search_path%3Delsewhere")
    shop.cluster.run(
        "CREATE SCHEMA IF NOT EXISTS elsewhere",
        f"GRANT USAGE ON SCHEMA elsewhere TO {READER}",
        "DROP TABLE IF EXISTS elsewhere.purchases",
        "CREATE TABLE elsewhere.purchases AS SELECT 1 AS session_id, now() AS at, current_timestamp AS cursor",
        f"GRANT SELECT ON elsewhere.purchases TO {READER}",
    )
    configure(submissions_query="SELECT * FROM purchases WHERE current_setting('application_name') = 'mine'")
    assert read().total("accepted") == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda url: f"{url}?nonsense=1", 'invalid URI query parameter: "nonsense"; check PHYGITALS_SUBMISSIONS_URL'),
        (lambda url: url.replace("%40", "%zz", 1), 'invalid percent-encoded token: "[redacted]"'),
        (
            lambda url: f"{url}?sslmode=nonsense&password={quote(PASSWORD, safe='')}",
            'invalid sslmode value: "nonsense"',
        ),
        (lambda url: f"{url}?sslmode={quote(PASSWORD, safe='')}", 'invalid sslmode value: "[redacted]"'),
    ],
)
def test_a_wrong_url_is_one_line_without_the_password(change, words, shop, configure):
    url = change(shop.cluster.url())
    configure(submissions_url=url)
    place = "postgresql" if "%zz" in url or "nonsense=1" in url else "postgresql: shop"
    assert words in reason(place)


def assert_no_secret(shown: list[subprocess.CompletedProcess[str]]) -> None:
    """In what was shown, and in the files of the data directory and of the run history."""
    text = "".join(one.stdout + one.stderr for one in shown)
    assert not has_secret(text), text
    assert "Traceback" not in text
    folders = Path(os.environ["PHYGITALS_DATA_DIR"]), Path(os.environ["DAGSTER_HOME"])
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        assert not any(secret.encode() in path.read_bytes() for secret in SECRETS), path


def test_a_run_with_an_unread_database_succeeds_and_needs_a_person_and_the_password_is_nowhere(shop, api, configure):
    api(Simulator(delay_scale=0, hold=0))
    shop.add("a")
    drop(Workspace.open(), "a.txt", "one\n")
    configure(submissions_url=shop.cluster.url(password=PASSWORD + "x"))
    done, status = phygitals("--debug", "refresh"), phygitals_here("status", "--json")
    assert done.returncode == 0, done.stderr
    assert re.search(r"postgresql: shop: not read, .*password authentication failed", done.stdout + done.stderr)
    assert status.returncode == 3
    assert [need["reason"] for need in described(status.stdout, "status")["needs_person"]] == ["database_unread"]
    assert_no_secret([done, status])
    configure(submissions_url=shop.cluster.url())
    done, status = phygitals("refresh"), phygitals_here("status")
    assert (done.returncode, status.returncode) == (0, 0)
    assert_no_secret([done, status])


def test_a_setting_that_is_gone_needs_nobody(shop, monkeypatch, configure):
    configure(submissions_url=shop.cluster.url(password="wrong"))
    reason()
    for name in ("URL", "QUERY"):
        monkeypatch.delenv(f"PHYGITALS_SUBMISSIONS_{name}")
    read()


def test_a_role_that_may_write_still_only_reads(shop, configure):
    configure(submissions_url=shop.cluster.url(OWNER, OWNERS_PASSWORD))
    shop.cluster.run("CREATE FUNCTION sneak() RETURNS bigint LANGUAGE sql AS 'DELETE FROM purchases RETURNING number'")
    shop.add("a")
    configure(
        submissions_query="SELECT session_id, created_at AS cursor, sneak() AS x FROM purchases WHERE sneak() > 0"
    )
    assert "cannot execute DELETE in a read-only transaction" in reason()
