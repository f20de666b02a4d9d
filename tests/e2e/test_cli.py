"""The command line as a person uses it: what it prints, and its exit codes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path

import pytest

from pipeline.catalog.trace import trace
from pipeline.settings import PROJECT_ROOT
from pipeline.simulator.server import PENDING, Reply, Simulator
from pipeline.steps import Workspace
from tests.support.answers import fulfilled
from tests.support.command_line import assert_one_line_error, on_a_terminal, phygitals, phygitals_here
from tests.support.json_schemas import described
from tests.support.workspace import KEY, ask, drop, refresh, rows, statuses

COMMANDS_PAGE = (PROJECT_ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")


@pytest.fixture
def published(copy_of) -> Workspace:
    def build(workspace: Workspace) -> None:
        drop(workspace, "a.csv", "session_id,pack_id,price_usd\ns,p,10\n")
        refresh(workspace)

    copied: Workspace = copy_of("published", lambda: Simulator(delay_scale=0, hold=0), build)
    return copied


def test_submitted_ids_and_files_are_resolved_by_a_refresh(api, tmp_path):
    api(Simulator(delay_scale=0, hold=0))
    listed = tmp_path / "more.csv"
    listed.write_text("session_id,pack_id\nthree,p\n")
    submitted = phygitals_here("submit", "one", "two", str(listed))
    assert submitted.returncode == 0, submitted.stderr
    waiting = phygitals_here("status")
    assert "2 new files" in waiting.stdout
    assert "run `phygitals refresh`" in waiting.stdout
    refreshed = phygitals("refresh")
    assert refreshed.returncode == 0, refreshed.stderr
    assert "of 3 sessions" in refreshed.stdout
    assert "Item types" in refreshed.stdout
    workspace = Workspace.open()
    assert "phygitals.duckdb" in refreshed.stdout
    assert f"Report:  {workspace.data.report}" in refreshed.stdout
    assert "<svg" in workspace.data.report.read_text(encoding="utf-8")
    assert rows(workspace, "SELECT session_id, pack_id FROM purchases ORDER BY 1") == [
        ("one", None),
        ("three", "p"),
        ("two", None),
    ]
    assert listed.read_text() == "session_id,pack_id\nthree,p\n"
    shown = phygitals_here("query", "SELECT session_id FROM purchases ORDER BY 1")
    assert shown.returncode == 0
    assert "three" in shown.stdout
    assert "3 rows" in shown.stdout
    settled = phygitals_here("status")
    assert "0 new files" in settled.stdout
    assert KEY not in refreshed.stdout + refreshed.stderr + settled.stdout


@pytest.mark.parametrize(
    ("argument", "word"),
    [("missing.csv", "no such file"), ("a b", "white space"), ("x" * 300, "300 characters")],
)
def test_what_is_neither_an_id_nor_a_file_is_refused(argument, word):
    assert_one_line_error(phygitals_here("submit", argument), word)


def test_a_file_of_a_format_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    assert_one_line_error(phygitals_here("submit", str(tmp_path / "a.xlsx")), "a.xlsx", ".csv")


def test_a_wrong_setting_is_one_line(configure):
    configure(poll_budget="soon")
    assert_one_line_error(phygitals_here("refresh"), "PHYGITALS_POLL_BUDGET='soon' is refused")


def test_the_traceback_is_behind_debug(configure):
    configure(poll_budget="soon")
    assert "Traceback" in phygitals_here("--debug", "status").stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["query", "--colour"], ("No such option", "--colour", "query --help")),
        (["trace"], ("Missing argument", "trace --help")),
        (["undo"], ("No such command 'undo'", "--help")),
        (["simulate", "--mode", "both"], ("'both' is not one of", "simulate --help")),
    ],
)
def test_a_command_that_is_called_wrongly_says_so_in_one_line(arguments, words):
    assert_one_line_error(phygitals_here(*arguments), *words)


def test_without_a_command_the_commands_are_listed():
    listed = phygitals()
    assert listed.returncode != 0
    assert "refresh" in listed.stderr


def test_debug_shows_where_a_wrong_query_and_a_failed_step_ended(api):
    api(Simulator(hold=0)).key = "another"
    assert "Traceback" in phygitals_here("--debug", "query", "SELECT 1").stderr
    drop(Workspace.open(), "a.txt", "one\n")
    shown = phygitals_here("--debug", "refresh").stderr
    assert "Traceback" in shown
    assert "In run_pipeline: " in shown
    assert KEY not in shown


def test_bad_sql_is_one_line(published):
    file = published.data.warehouse.rename(published.data.root / "aside.duckdb")
    assert_one_line_error(phygitals_here("query", "SELECT 1"), "does not exist yet")
    file.rename(published.data.warehouse)
    assert_one_line_error(phygitals_here("query", "SELEC 1"), "syntax error")
    assert_one_line_error(phygitals_here("query", "DROP TABLE pulls"), "DROP is not allowed in queries")
    assert_one_line_error(phygitals_here("query", " ;"), "the SQL is empty")


def test_numbers_are_shown_whole(published):
    sql = (
        "SELECT 12345678901234567890123456789.1234::DECIMAL(38,4) AS a, 12345.678::DOUBLE AS b, 17.3450 AS c, "
        "1999 AS d, 12345 AS e"
    )
    shown = phygitals_here("query", sql).stdout
    numbers = ("12,345,678,901,234,567,890,123,456,789.1234", "12,345.68", "17.345", " 1999 ", " 12,345 ")
    assert all(n in shown for n in numbers)


@pytest.mark.parametrize(
    "command", [[], ["submit"], ["refresh"], ["status"], ["simulate"], ["query"], ["report"], ["trace"], ["rebuild"]]
)
def test_help_is_everywhere(command):
    result = phygitals_here(*command, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith("Usage:")


def test_an_unknown_command_fails():
    assert phygitals_here("fetch").returncode == 2


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_the_simulator_serves_until_it_is_stopped(signal_number):
    command = [sys.executable, "-u", "-m", "pipeline.cli.main", "simulate", "--mode", "sandbox", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split(" at ")[1].split(";")[0]

        def asked(session_id: str) -> bytes:
            body = json.dumps({"session_id": session_id}).encode()
            request = urllib.request.Request(f"{url}/vm/buy/status", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request) as response:
                received: bytes = response.read()
                return received

        assert b'"tx_hash": "sandbox_' in asked("550e8400-e29b-41d4-a716-446655440000")
        with pytest.raises(urllib.error.HTTPError, match="400") as refused:
            asked("not-a-session")
        refused.value.close()
        process.send_signal(signal_number)
        assert process.wait(30) == 0


def test_a_refused_key_can_be_rehearsed(configure):
    right, wrong = "a-key-of-the-rehearsal", "another-key-of-the-rehearsal"
    command = [
        sys.executable,
        "-u",
        "-m",
        "pipeline.cli.main",
        "simulate",
        "--port",
        "0",
        "--hold",
        "0",
        "--key",
        right,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split(" at ")[1].split("/api")[0]
        configure(env="sandbox", api_url=url, api_key=wrong, requests_per_second=0, poll_budget=1, poll_interval=0.1)
        assert phygitals_here("submit", "one").returncode == 0
        refused = phygitals("refresh")
        assert_one_line_error(refused, "HTTP 401", "PHYGITALS_API_KEY")
        needs = phygitals_here("status")
        assert needs.returncode == 3 and "the API refused the key" in needs.stdout
        configure(api_key=right)
        ask(Workspace.open())
        assert statuses(Workspace.open())["one"] != "pending"
        assert "the API refused the key" not in phygitals_here("status").stdout
        shown = refused.stdout + refused.stderr + needs.stdout
        assert right not in shown and wrong not in shown
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_simulated_submissions_go_into_the_local_inbox_only(api):
    written = phygitals_here("simulate", "--submissions", "60")
    assert written.returncode == 0, written.stderr
    assert "60 submissions" in written.stdout
    assert "nothing was added" in phygitals_here("simulate", "--submissions", "60").stdout


def test_simulated_submissions_are_refused_elsewhere(api):
    api(Simulator(hold=0))
    assert_one_line_error(phygitals_here("simulate", "--submissions", "60"), "only with PHYGITALS_ENV=local")


def test_what_is_pending_is_told_from_what_came_not_from_what_was_published(api, configure):
    api(Simulator(hold=0, scripts={"s": [PENDING]}))
    configure(poll_budget=0.5)
    workspace = Workspace.open()
    drop(workspace, "a.txt", "s\n")
    workspace.take_in()
    told = phygitals_here("status")
    assert told.returncode == 0, told.stderr
    assert "s " in told.stdout and "Nothing is published yet" in told.stdout
    assert "under a minute" in told.stdout


def test_reading_needs_no_key(published, monkeypatch):
    monkeypatch.delenv("PHYGITALS_API_KEY")
    assert phygitals_here("query", "SELECT 1").returncode == 0
    assert phygitals_here("status").returncode == 0
    assert phygitals_here("report").returncode == 0
    assert_one_line_error(phygitals_here("refresh"), "PHYGITALS_API_KEY is not set")


def test_rows_that_are_too_wide_for_a_table_are_printed_name_by_name(published):
    lines = phygitals_here("query", "FROM pack_economics").stdout.splitlines()
    assert any("multiple_20_and_above_count" in line and line.count("\u2502") == 3 for line in lines)


def test_a_terminal_shows_the_progress_while_it_happens(api, configure):
    api(Simulator(delay_scale=0, hold=0))
    configure(requests_per_second=25)
    drop(Workspace.open(), "a.txt", "\n".join(f"s{i}" for i in range(80)))
    # What comes after the last answer has no progress to show.
    written, _ = on_a_terminal("refresh", interrupt_at=b"80/80")
    assert written.count("requests/s") >= 3
    assert "80/80" in written


def test_a_refresh_against_the_bundled_simulator_that_is_interrupted_says_so_in_one_line(configure):
    configure(requests_per_second=25)
    drop(Workspace.open(), "a.txt", "\n".join(f"s{i}" for i in range(400)))
    written, code = on_a_terminal("refresh", interrupt_at=b"requests/s")
    assert code != 0
    assert "Task was destroyed" not in written
    assert "received answers are kept" in written.splitlines()[-1]


def test_a_trace_tells_a_sessions_whole_story(api):
    answers = [Reply(200, b"oops"), PENDING, fulfilled("s", {"id": "card-1"})]
    api(Simulator(delay_scale=0, hold=0, scripts={"s": answers}))
    workspace = Workspace.open()
    drop(workspace, "sub/a.csv", "session_id,price_usd\ns,10\ns,12\n")
    refresh(workspace)
    told = phygitals_here("trace", "s")
    assert told.returncode == 0, told.stderr
    came_of_it = ("Purchase", "Pulls", "card-1", "Issues", "conflicting_submission", "malformed_answer")
    for words in ("Submitted", "sub/a.csv", "Polled", "the body is not JSON", "pending", "fulfilled", *came_of_it):
        assert words in told.stdout, words
    asked = {title: chapter.fetchall() for title, chapter in trace(workspace.data, "s")}["Polled"]
    assert [row[5] for row in asked] == [1, 2, 3]
    assert all((workspace.data.root / row[4]).is_file() for row in asked)
    assert_one_line_error(phygitals_here("trace", "another"), "'another' was never submitted")


def test_a_trace_in_json_is_as_documented_and_its_decimals_are_exact(api):
    item = {"id": "card-1", "buyback_price": 17.3, "content": {"metadata": {"name": "\x1b[31mred\u202e"}}}
    api(Simulator(delay_scale=0, hold=0, scripts={"s": [PENDING, fulfilled("s", item)]}))
    workspace = Workspace.open()
    drop(workspace, "a.csv", "session_id,price_usd\ns,123456.7890\n")
    refresh(workspace)
    shown = phygitals_here("trace", "s", "--json")
    assert shown.returncode == 0, shown.stderr
    told = described(shown.stdout, "trace")
    assert shown.stdout.count('"price_usd":123456.7890') == 2
    assert told["submitted"][0]["price_usd"] == told["purchase"][0]["price_usd"] == Decimal("123456.7890")
    assert [poll["outcome"] for poll in told["polled"]] == ["pending", "fulfilled"]
    assert (told["pulls"][0]["item_id"], told["pulls"][0]["name"]) == ("card-1", "\x1b[31mred\u202e")
    assert "\x1b" not in shown.stdout and "\u202e" not in shown.stdout
    assert told["sold_back"] == [] and told["submitted"][0]["initiated_at"] is None
    nobody = phygitals_here("trace", "another", "--json")
    assert_one_line_error(nobody, "'another' was never submitted")
    assert nobody.stdout == ""


def test_the_json_of_a_query_is_an_array_as_documented(published):
    sql = "SELECT 12345678901234.5678 AS amount, TIMESTAMPTZ '2026-03-01 12:00:00+01' AS at, NULL AS nothing, 2 AS n"
    shown = phygitals_here("query", sql, "--format", "json")
    assert json.loads(shown.stdout, parse_float=Decimal) == [
        {"amount": Decimal("12345678901234.5678"), "at": "2026-03-01T11:00:00.000000Z", "nothing": None, "n": 2}
    ]


def test_the_version_is_that_of_the_package():
    shown = phygitals("--version")
    assert (shown.returncode, shown.stdout) == (0, f"phygitals {version('phygitals-pipeline')}\n")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_and_options_as_the_documentation_says(monkeypatch):
    (line,) = re.findall(r"^eval .*_PHYGITALS_COMPLETE=bash_source.*$", COMMANDS_PAGE, re.MULTILINE)
    completed = {"sta": "status", "status --j": "--json"}
    program = line
    for typed in completed:
        words = ["phygitals", *typed.split()]
        program += f"\nCOMPREPLY=() COMP_WORDS=({' '.join(words)}) COMP_CWORD={len(words) - 1}\n"
        program += '_phygitals_completion phygitals\necho "${COMPREPLY[@]}"'
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(PROJECT_ROOT))
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True)
    assert (done.stdout.splitlines(), done.stderr) == (list(completed.values()), "")


@pytest.mark.parametrize("home", ["there/is/none", "relative"])
def test_a_dagster_home_that_dagster_does_not_take_is_named_with_what_to_do(api, tmp_path, monkeypatch, home):
    api(Simulator(delay_scale=0, hold=0))
    (tmp_path / "relative").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(PROJECT_ROOT))
    monkeypatch.setenv("DAGSTER_HOME", home if home == "relative" else str(tmp_path / home))
    assert_one_line_error(phygitals_here("refresh"), "DAGSTER_HOME=", "the absolute path of an existing folder")
