"""Where the data directory lies does not change what it says: folders' names are names, never columns or patterns."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from pipeline.catalog.table_profile import table_profile
from pipeline.clock import now
from pipeline.publish.warehouse import publish
from pipeline.quality.checker import Checker
from pipeline.quality.published_file import disagreements
from pipeline.schema import PUBLISHED, TABLES
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.schema.staging import PULLS
from pipeline.simulator.server import Simulator
from pipeline.sources.inbox import Inbox
from pipeline.sources.intake import take_in
from pipeline.sources.kinds import SESSIONS
from pipeline.steps import Workspace
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.errors import DamagedFileError, DataDirectoryError
from pipeline.storage.parquet_query import literal_path
from pipeline.storage.raw_log import Response, ResponseLog
from pipeline.transform.builder import Builder
from tests.support.answers import fulfilled
from tests.support.command_line import phygitals, phygitals_here
from tests.support.lake import compact_at
from tests.support.workspace import drop, refresh, rows

SEED = 20261128
CASES = 5
MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)
COLUMNS = sorted({column.name for table in TABLES.values() for column in table.columns})
PIECES = [
    *(
        "%",
        "%20",
        "%2F",
        " ",
        "'",
        '"',
        "''",
        "日本",
        "Ünï",
        "й",
        "*",
        "?",
        "[",
        "]",
        "[a-z]",
        "**",
        "\\",
        "{a,b}",
        "~",
    ),
    *(
        "$HOME",
        "#",
        "&",
        ";",
        ":",
        "s3:",
        "=",
        "x=",
        "\n",
        "\t",
        "\u202e",
        "(",
        ")",
        "`",
        "|",
        "--",
        "/*",
        "\U0001f0cf",
    ),
]


def names(rng: random.Random) -> list[str]:
    """Folders, some that DuckDB would make columns of, and some of pieces that something may take for syntax."""
    values = ["live", "2026-11-28", "1", "NULL", "%", "a b", "__HIVE_DEFAULT_PARTITION__"]
    columns = [f"{column}={rng.choice(values)}" for column in rng.sample(COLUMNS, k=5)]
    without = rng.choice(["\\", "\\", "*?["])  # together they are refused, which is tried in a test of its own
    pieces = [piece for piece in PIECES if not set(piece) & set(without)]
    odd = ["f" + "".join(rng.choices(pieces, k=6)) for _ in range(3)]
    return rng.sample([*columns, *odd], k=8)


def filled(data: DataDirectory) -> DataDirectory:
    """Takes in, answers, merges, derives and publishes a history of two days ago."""
    data.claim("local", "none")
    (data.inbox / "a.csv").write_text("session_id,pack_id,price_usd,user_id\ns1,elite,50,u\ns2,elite,50,u\ns3,,,\n")
    at = int(MOMENT.timestamp() * 1_000_000)
    with data.exclusive():
        take_in(data, lambda: MOMENT, Inbox(data, SESSIONS))
        for session in ("s1", "s2"):  # two runs of one day, so that there is something to merge
            log = ResponseLog(data, STATUS_RESPONSES, MOMENT)
            body = fulfilled(session, {"id": f"item-{session}", "type": "enft", "buyback_price": 40}).body
            log.append(Response(session, at, at, 200, "application/json", body, "fulfilled", None))
            log.close()
        compact_at(data, MOMENT + timedelta(days=2))
        with Builder(data, MOMENT + timedelta(days=2), 0) as builder:
            builder.build_published()
        publish(data)
    return data


def told(data: DataDirectory) -> dict[str, object]:
    """The rows of every table, of the files and of the published one, which is published anew where it has moved."""
    with data.exclusive():
        publish(data)
    with connect(data) as connection:
        found = {
            name: connection.execute(f"FROM {data.store.scan(table)}").fetchall() for name, table in TABLES.items()
        }
        origins = data.store.scan_with_origin(STATUS_RESPONSES)
        found["origins"] = connection.execute(f"SELECT raw_file, raw_row FROM ({origins})").fetchall()
    with duckdb.connect(data.warehouse, read_only=True) as connection:
        return found | {f"published {t.name}": connection.execute(f"FROM {t.name}").fetchall() for t in PUBLISHED}


def test_a_history_says_the_same_below_any_folders(tmp_path, record_property):
    data = filled(DataDirectory(tmp_path / "plain"))
    expected = told(data)
    assert all(expected[name] for name in ("purchases", "pulls", "status_responses", "origins", "published items"))
    rng = random.Random(SEED)
    outcomes: Counter[str] = Counter()
    for number in range(CASES):
        moved = DataDirectory(tmp_path.joinpath(str(number), *names(rng), "data"))
        shutil.copytree(data.root, moved.root)
        is_derived_anew = number == 0
        if is_derived_anew:
            with moved.exclusive(), Builder(moved, MOMENT + timedelta(days=2), 0) as builder:
                builder.forget_all()
                builder.build_published()
        assert told(moved) == expected, str(moved.root)
        assert disagreements(moved).offender_count == 0
        outcomes["the same, derived anew" if is_derived_anew else "the same"] += 1
    record_property(f"locations, seed {SEED}", dict(outcomes))


def test_a_path_that_duckdb_cannot_open_is_refused_before_anything_is_made(tmp_path):
    data = DataDirectory(tmp_path / "a\\b*" / "data")
    with pytest.raises(DataDirectoryError, match="cannot open a path with both a backslash and one of"):
        data.claim("local", "none")
    assert not data.root.parent.exists()


def test_a_refresh_and_the_commands_say_the_same_below_any_folders(api, configure, tmp_path):
    folders = ["pack_id=live", "user_id=x", "source_file=x", "day=1", "a%20b 'c' \"d\" ü"]
    configure(data_dir=tmp_path.joinpath(*folders, "data"))
    api(Simulator(delay_scale=0, hold=0))
    workspace = Workspace.open()
    drop(workspace, "a.csv", "session_id,pack_id,price_usd,user_id\n" + "".join(f"s{i},elite,50,u\n" for i in range(5)))
    for done in (phygitals("refresh"), phygitals_here("trace", "s0")):
        assert done.returncode == 0, done.stderr
    assert rows(workspace, "SELECT DISTINCT pack_id, source_file FROM purchases") == [("elite", "a.csv")]
    assert rows(workspace, "SELECT DISTINCT pack_id FROM pulls") == [("elite",)]
    with Checker(workspace.data, now) as checker:
        for table in TABLES.values():
            if table.is_asset:
                table_profile(checker.connection_with(table), workspace.data.store, table, now())


def test_the_past_can_be_written_into_a_folder_that_is_named_like_a_column(api, tmp_path):
    api(Simulator(delay_scale=0, hold=0))
    workspace = Workspace.open()
    drop(workspace, "a.txt", "s1\ns2\n")
    refresh(workspace)
    folder = tmp_path / "as_of=2026-11-28"
    done = phygitals_here("rebuild", "--as-of", now().isoformat(), "--into", str(folder))
    assert done.returncode == 0, done.stderr
    with duckdb.connect(folder / "phygitals.duckdb", read_only=True) as connection:
        assert connection.execute("SELECT count(*), count(DISTINCT as_of) FROM pending_ageing").fetchone() == (5, 1)


def test_a_damaged_file_is_named_below_a_folder_of_pattern_characters(tmp_path):
    data = DataDirectory(tmp_path / "a*b[1]" / "data")
    filled(data)
    path = data.root / "lake" / "pulls" / "2026-03-01.parquet"
    assert literal_path(str(path)) != str(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DamagedFileError) as failure, connect(data) as connection:
        connection.execute(f"FROM {data.store.scan(PULLS)}").fetchall()
    assert str(path) in str(failure.value)
