"""`phygitals query` as an attacker would use it, and commands that read: nothing is written, nothing is bound."""

from __future__ import annotations

import http.server
import random
import threading
from pathlib import Path

import dagster as dg
import duckdb
import pytest

from pipeline.clock import now
from pipeline.errors import PipelineError
from pipeline.orchestration.automation import daily_refresh, database_sensor, inbox_sensor, pending_sensor
from pipeline.publish.export import FORMATS
from pipeline.publish.reading import QueryError, attached_for_queries, open_for_queries, require_read_only
from pipeline.simulator.server import Simulator
from pipeline.steps import SnapshotError, Workspace
from pipeline.storage.errors import DataDirectoryError
from tests.support.command_line import assert_one_line_error, phygitals_here
from tests.support.seeds import new_seed
from tests.support.workspace import drop, refresh, rows

OTHER_API = "http://127.0.0.1:9"
# {file} is the published file, {folder} its folder, {elsewhere} a folder outside, {url} a server that listens.
ATTACKS = [
    "COPY (SELECT 1) TO '{file}'",
    "COPY (SELECT 1) TO '{file}' (USE_TMP_FILE false)",
    "COPY (SELECT 1) TO '{file}.wal' (USE_TMP_FILE false)",
    "COPY (SELECT 1) TO '{elsewhere}/out.csv'",
    "SELECT 1; COPY (SELECT 1) TO '{file}.wal'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{file}.wal' (USE_TMP_FILE false)",
    "/* a */ EXPLAIN (ANALYZE) COPY (SELECT 1) TO '{file}.wal' (USE_TMP_FILE false)",
    "-- a\nEXPLAIN /* b */ ANALYZE COPY (SELECT 1) TO '{file}.wal' (USE_TMP_FILE false)",
    "PREPARE p AS COPY (SELECT 1) TO '{file}.wal'; EXECUTE p",
    "EXPORT DATABASE '{folder}/all'",
    "IMPORT DATABASE '{folder}'",
    "ATTACH '{file}' AS again",
    "ATTACH '{folder}/new.duckdb' AS made",
    "DETACH phygitals",
    "CREATE TABLE made AS SELECT 1",
    "CREATE PERSISTENT SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "DROP TABLE pulls",
    "DELETE FROM pulls",
    "UPDATE pulls SET name = NULL",
    "INSERT INTO pulls SELECT * FROM pulls",
    "VACUUM",
    "CHECKPOINT",
    "FORCE CHECKPOINT",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "RESET lock_configuration",
    "SET temp_directory = '{folder}'",
    "PRAGMA enable_profiling; SELECT 1",
    "PRAGMA profiling_output = '{folder}/profile.json'; SELECT 1",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{elsewhere}/x.duckdb_extension'",
    "FROM '{url}/rows.csv'",
    "FROM read_csv('{url}/rows.csv')",
    "FROM read_parquet('{url}/rows.parquet')",
    "FROM '{elsewhere}/secret.csv'",
    "FROM read_text('{elsewhere}/secret.csv')",
    "SELECT (SELECT content FROM read_text('/etc/hostname'))",
    "FROM read_blob('{file}')",
    "FROM \"READ_BLOB\"('{file}')",
    "FROM system.main.read_blob /* a /* b */ c */ -- d\n('{file}')",
    "FROM glob('{elsewhere}/*')",
    "FROM sniff_csv('{elsewhere}/secret.csv')",
    "FROM parquet_metadata('{elsewhere}/secret.csv')",
    "FROM enable_logging(storage = 'file', storage_path = '{folder}')",
    "CALL enable_logging(storage = 'file', storage_path = '{file}.wal')",
    "FROM query('FROM enable_' || 'logging(storage = ''file'', storage_path = ''{folder}'')')",
    "FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "CREATE TEMP MACRO m() AS TABLE FROM read_text('{elsewhere}/secret.csv'); FROM m()",
    "PIVOT (FROM read_csv('{elsewhere}/secret.csv')) ON secret USING count(*)",
    "FROM arrow_scan(1::POINTER, 2::POINTER, 3::POINTER)",
    "FROM workspace",
    "CREATE TABLE memory.made AS SELECT 1",
    "CREATE OR REPLACE TABLE memory.main.made AS SELECT 1",
    "CREATE /* TEMP */ TABLE memory.made AS SELECT 1",
    "SELECT 1; -- a\nCREATE VIEW memory.made AS SELECT 1",
    "CREATE TEMP TABLE memory.made AS SELECT 1",
    "EXPLAIN ANALYZE CREATE TABLE memory.made AS SELECT 1",
]
READS = {
    "FROM purchases": 3,
    "SELECT 1; SELECT 2": 1,
    "WITH a AS (SELECT 1) FROM a": 1,
    "VALUES (1), (2)": 2,
    'SELECT \'read_text(\', "glob" FROM (SELECT 1 AS "glob") -- copy (': 1,
    "SHOW TABLES": None,
    "DESCRIBE purchases": None,
    "SUMMARIZE purchases": None,
    "PIVOT (SELECT pack_id, status FROM purchases) ON status USING count(*)": 1,
    "UNPIVOT (SELECT 1 AS a, 2 AS b) ON COLUMNS(*)": 2,
    "EXPLAIN FROM purchases": None,
    "EXPLAIN ANALYZE SELECT 1": None,
    "EXPLAIN (FORMAT json) (SELECT 1)": None,
    "FROM duckdb_columns()": None,
    "PRAGMA table_info('purchases')": None,
    "FROM range(3), unnest([1, 2])": 6,
    "CREATE TEMP TABLE a AS SELECT 1; FROM a": 1,
    "SELECT current_setting('TimeZone')": 1,
}


@pytest.fixture
def workspace(copy_of):
    """Three sessions, published."""

    def build(workspace: Workspace) -> None:
        drop(workspace, "a.txt", "one\ntwo\nthree\n")
        refresh(workspace)

    return copy_of("published", lambda: Simulator(delay_scale=0, hold=0), build)


@pytest.fixture
def listener():
    """A server that notes whether anybody came."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):  # noqa: N802
            seen.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """What a file that is written to does not keep, by its path."""
    found = ((path, path.stat()) for path in folder.rglob("*") if path.is_file())
    return {str(path): (stat.st_size, stat.st_mtime_ns) for path, stat in found}


def asked(workspace: Workspace, sql: str) -> list[tuple]:
    """What `phygitals query` does to run SQL."""
    with open_for_queries(workspace.data.warehouse) as connection:
        require_read_only(connection, sql)
        return connection.execute(sql).fetchall()


def asked_on_the_page(workspace: Workspace, sql: str) -> list[tuple]:
    """What `phygitals explore` does to run SQL."""
    with attached_for_queries(workspace.data.warehouse) as cursor:
        require_read_only(cursor(), sql)
        return cursor().execute(sql).fetchall()


WAYS = [asked, asked_on_the_page]


@pytest.mark.parametrize("way", WAYS)
def test_no_query_writes_a_file_reads_another_or_calls_anywhere(way, workspace, tmp_path, listener):
    url, seen = listener
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "secret.csv").write_text("secret\n1\n")
    places = {
        "file": workspace.data.warehouse,
        "folder": workspace.data.root,
        "elsewhere": elsewhere,
        "url": url,
    }
    before = contents(tmp_path)
    for attack in ATTACKS:
        with pytest.raises((QueryError, duckdb.Error)):
            way(workspace, attack.format(**places))
        assert contents(tmp_path) == before, attack
    assert seen == []
    assert rows(workspace, "SELECT count(*) FROM purchases") == [(3,)]


@pytest.mark.parametrize("way", WAYS)
def test_what_only_reads_is_run(way, workspace):
    for sql, count in READS.items():
        found = way(workspace, sql)
        assert found and count in (None, len(found)), sql


def test_no_mixture_of_attacks_leaves_a_trace(workspace, tmp_path, record_property):
    seed = new_seed()
    print("seed", seed)
    chance = random.Random(seed)
    wrappings = ["{}", "{};", "; {}", "SELECT 1; {}", "{}; SELECT 1", "EXPLAIN ANALYZE {}", "WITH a AS ({}) FROM a"]
    wrappings += ["FROM ({})", "/* ; */ {} -- ;", "CREATE TEMP VIEW v AS {}; FROM v", "PREPARE p AS {}; EXECUTE p"]
    places = dict.fromkeys(("file", "folder", "elsewhere", "url"), workspace.data.warehouse)
    before = contents(tmp_path)
    outcomes = {"refused": 0, "failed": 0, "read": 0}
    for _ in range(100):
        sql = chance.choice([*ATTACKS, *READS]).format(**places)
        for _ in range(chance.randint(1, 2)):
            sql = chance.choice(wrappings).replace("{}", sql)
        sql = "".join(c.upper() if chance.random() < 0.2 else c for c in sql) if "/" not in sql else sql
        try:
            asked(workspace, sql)
            outcomes["read"] += 1
        except QueryError:
            outcomes["refused"] += 1
        except duckdb.Error:
            outcomes["failed"] += 1
        assert contents(tmp_path) == before, (seed, sql)
    record_property("queries of an attacker", f"seed {seed}: {outcomes}")


@pytest.mark.parametrize("chosen", [None, *FORMATS])
def test_the_command_refuses_what_does_not_read_in_every_format(workspace, tmp_path, chosen):
    before = contents(tmp_path)
    options = ["--format", chosen] if chosen else []
    refused = phygitals_here("query", f"COPY (SELECT 1) TO '{workspace.data.warehouse}.wal'", *options)
    assert_one_line_error(refused, "COPY is not allowed in queries")
    assert contents(tmp_path) == before


def test_a_query_that_puts_rows_aside_does_so_outside_of_the_data_directory(workspace, tmp_path):
    with open_for_queries(workspace.data.warehouse) as connection:
        ((spill,),) = connection.execute("SELECT current_setting('temp_directory')").fetchall()
        assert not Path(spill).is_relative_to(tmp_path)
        assert Path(spill).is_dir()
    assert not Path(spill).exists()


@pytest.mark.parametrize("name", ["environment.json", "inbox/a.csv", "report.csv", "lake/new.parquet", "raw/../x.json"])
def test_no_output_is_written_into_the_data_directory(workspace, tmp_path, name):
    before = contents(tmp_path)
    refused = phygitals_here("query", "SELECT 1", "-o", str(workspace.data.root / name), "--format", "csv")
    assert_one_line_error(refused, "in the data directory")
    (tmp_path / "link").symlink_to(workspace.data.root)
    refused = phygitals_here("query", "SELECT 1", "-o", str(tmp_path / "link" / name), "--format", "csv")
    assert_one_line_error(refused, "in the data directory")
    (tmp_path / "link").unlink()
    assert contents(tmp_path) == before


def test_an_output_does_not_replace_the_file_to_which_the_published_one_is_a_link(workspace, tmp_path):
    moved = tmp_path / "moved.parquet"
    workspace.data.warehouse.rename(moved)
    workspace.data.warehouse.symlink_to(moved)
    before = moved.read_bytes()
    assert_one_line_error(phygitals_here("query", "SELECT 1", "-o", str(moved)), "in the data directory")
    assert moved.read_bytes() == before


def test_a_past_is_not_written_into_the_data_directory(workspace, tmp_path):
    before = contents(tmp_path)
    with pytest.raises(SnapshotError, match="is inside the data directory"):
        workspace.rebuild_as_of(now(), workspace.data.root / "past")
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["status"], None),
        (["query", "SELECT 1"], "run `phygitals refresh` first"),
        (["report"], "run `phygitals refresh` first"),
        (["trace", "one"], "was never submitted"),
        (["rebuild"], "does not exist yet"),
    ],
)
def test_a_command_that_reads_makes_nothing_and_binds_nothing(arguments, words, configure, tmp_path):
    configure(env="production", api_url=OTHER_API)
    done = phygitals_here(*arguments)
    if words is None:
        assert done.returncode == 0, done.stderr
    else:
        assert_one_line_error(done, words)
    assert not (tmp_path / "data").exists()


def test_the_first_submission_binds_and_a_command_that_reads_minds_it(configure, tmp_path):
    assert phygitals_here("submit", "one").returncode == 0
    configure(env="production", api_url=OTHER_API)
    for arguments in (["status"], ["query", "SELECT 1"], ["report"], ["trace", "one"], ["rebuild"]):
        assert_one_line_error(
            phygitals_here(*arguments), "holds data of local at the bundled simulator, not of production"
        )


def test_a_directory_that_was_bound_by_a_mistake_is_bound_anew_while_it_holds_nothing(configure):
    configure(env="production", api_url="http://127.0.0.1:8", api_key="k")
    mistaken = Workspace.open()
    refresh(mistaken)
    assert mistaken.data.warehouse.exists()
    configure(api_url=OTHER_API)
    Workspace.open_for_reading()
    drop(Workspace.open(), "a.txt", "one\n")
    configure(api_url="http://127.0.0.1:8")
    with pytest.raises(DataDirectoryError, match=f"holds data of production at {OTHER_API}"):
        Workspace.open()


def test_what_was_taken_in_keeps_a_directory_bound_when_the_inbox_is_empty_again(workspace, configure):
    for file in workspace.data.inbox.iterdir():
        file.unlink()
    configure(api_url=OTHER_API)
    for opened in (Workspace.open, Workspace.open_for_reading):
        with pytest.raises(PipelineError, match=f"not of production at {OTHER_API}"):
            opened()


def test_a_directory_is_not_bound_anew_while_somebody_writes_to_it(configure):
    first = Workspace.open()
    configure(env="production", api_url=OTHER_API, api_key="k")
    with first.data.exclusive(), pytest.raises(DataDirectoryError, match="holds data of local"):
        Workspace.open()
    Workspace.open()


@pytest.mark.parametrize("sensor", [inbox_sensor, database_sensor, pending_sensor])
def test_a_sensor_offers_the_inbox_and_binds_nothing(configure, tmp_path, sensor):
    configure(env="production", api_url=OTHER_API, api_key="k")
    with dg.DagsterInstance.ephemeral() as instance:
        assert isinstance(sensor(dg.build_sensor_context(instance)), dg.SkipReason)
    assert {path.name for path in (tmp_path / "data").iterdir()} - {".scratch"} == {"inbox"}


def test_a_tick_of_the_schedule_starts_a_run_and_binds_nothing(configure, tmp_path):
    configure(env="production", api_url=OTHER_API, api_key="k")
    assert isinstance(daily_refresh(), dg.RunRequest)
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"inbox"}
