"""What a person reads on a terminal: numbers, long cells, places of errors, progress, singular and plural."""

from __future__ import annotations

import re
import sys
from collections import Counter
from datetime import timedelta

import pytest
from rich.cells import cell_len

from pipeline.cli.console import SafeConsole
from pipeline.cli.progress import polling_progress
from pipeline.cli.sql_error import SqlError
from pipeline.clock import now
from pipeline.polling.answers import Outcome
from pipeline.polling.progress import Progress
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from tests.support.answers import fulfilled
from tests.support.command_line import assert_one_line_error, on_a_terminal, phygitals_here
from tests.support.workspace import drop, refresh

SESSION = "0b9f0d9c-5c0f-4c1e-9f43-1d2f2b7f6a10"
LONG = "an unknown field of the answer with a long value " * 6


@pytest.fixture
def published(copy_of) -> Workspace:
    def build(workspace: Workspace) -> None:
        drop(workspace, "a.csv", f"session_id,pack_id,price_usd\n{SESSION},p,10\n{SESSION},p,12\n")
        refresh(workspace)

    odd = fulfilled(SESSION, {"id": "card-1", "buyback_price": 12.5, "surprise": LONG})
    copied: Workspace = copy_of("published", lambda: Simulator(delay_scale=0, hold=0, scripts={SESSION: [odd]}), build)
    return copied


def cells(shown: str) -> list[list[str]]:
    lines = [line for line in shown.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


def plain(written: str) -> str:
    """What a terminal shows, without its control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written).replace("\r\n", "\n").replace("\r", "\n")


def printed(sql: str) -> str:
    result = phygitals_here("query", sql)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_money_has_two_places_unless_it_has_more(published):
    sql = (
        "SELECT unnest([10, 12.5, 17.345]::DECIMAL(18,4)[]) AS price_usd, unnest([1200, 0.5, 3]::DOUBLE[]) AS mean_usd"
    )
    assert cells(printed(sql)) == [["10.00", "1,200.00"], ["12.50", "0.50"], ["17.345", "3.00"]]
    assert cells(printed("SELECT 1200::DOUBLE AS mean_usd, 0.0125::DOUBLE AS fee_usd")) == [["1,200.00", "0.0125"]]


def test_the_fractions_of_a_column_have_the_same_number_of_places(published):
    sql = (
        "SELECT unnest([0.5, 0.1234, NULL, 1]::DOUBLE[]) AS share, unnest([45.5, 3, 100, 0]::DOUBLE[]) AS percent, "
        "unnest([2, 3, 4, 5]::DOUBLE[]) AS whole"
    )
    assert cells(printed(sql)) == [
        ["0.5000", "45.5", "2"],
        ["0.1234", "3.0", "3"],
        ["", "100.0", "4"],
        ["1.0000", "0.0", "5"],
    ]


def test_what_is_no_finite_plain_number_is_shown_as_it_is(published):
    assert cells(printed("SELECT unnest(['nan', 'inf', 1e-9, 0.25]::DOUBLE[]) AS x")) == [
        *(["nan"], ["inf"], ["1e-09"], ["0.25"]),
    ]


def test_issues_are_readable_with_whole_ids_and_wrapped_words(published):
    shown = printed("FROM data_issues")
    assert max(map(cell_len, shown.splitlines())) <= 160
    assert ["session_id", SESSION] in cells(shown)
    assert ["rule", "conflicting_submission"] in cells(shown)
    sql = "SELECT detail, session_id FROM data_issues WHERE rule = 'conflicting_submission'"
    narrow, code = on_a_terminal("query", f"SELECT '{LONG}' AS detail, * EXCLUDE detail FROM ({sql})", width=80)
    lines = plain(narrow).splitlines()
    assert code == 0 and max(map(cell_len, lines)) <= 80
    assert SESSION in narrow
    assert LONG.strip() in " ".join(row[0] for row in cells("\n".join(lines)))  # no word is broken


def test_a_long_cell_beside_short_ones_wraps_within_its_column(published):
    shown = cells(printed(f"SELECT 1 AS n, '{LONG}' AS words, '{SESSION}' AS id"))
    assert shown[0][0] == "1" and shown[0][2] == SESSION
    assert len(shown) > 1 and all(row[0] == row[2] == "" for row in shown[1:])
    assert " ".join(row[1] for row in shown) == LONG.strip()


@pytest.mark.parametrize(
    ("sql", "fault"),
    [
        ("SELEC 1", "SELEC"),
        ("SELECT 1,\n  nowhere,\n  2", "nowhere"),
        ("SELECT\t1,\tnowhere", "nowhere"),
        ("SELECT 'ééé日本', nowhere", "nowhere"),
        ("SELECT " + "1, " * 60 + "nowhere, " + "2, " * 60 + "3", "nowhere"),
        ("FROM nothere", "nothere"),
        ("SELECT '\x1b[2J\u202e', nowhere", "nowhere"),
    ],
)
def test_the_caret_is_below_the_fault_and_the_error_itself_is_one_line(published, sql, fault):
    told, code = on_a_terminal("query", sql, width=200)
    error, line, caret = told.replace("\r", "").splitlines()
    assert code == 1
    assert error.startswith("Error: ") and "LINE" not in error and "^" not in error
    assert re.search(r" \(in line \d+ of the SQL\)$", error)
    assert cell_len(line[: line.rindex(fault)]) == len(caret) - 1
    assert caret.strip() == "^"
    assert_one_line_error(phygitals_here("query", sql), error)


def test_an_error_without_a_place_has_no_excerpt():
    error = SqlError("Out of Range Error:\nsomething\n happened")
    assert (str(error), error.excerpt) == ("Out of Range Error: something happened", None)


@pytest.mark.parametrize(
    "sql", ["SELECT 1; SELECT 2", "SELECT 1; CREATE TEMP TABLE t AS SELECT 2;", "FROM pulls;;FROM items;"]
)
@pytest.mark.parametrize("options", [(), ("--format", "csv")])
def test_several_queries_are_refused_before_any_is_run(published, sql, options):
    result = phygitals_here("query", sql, *options)
    assert_one_line_error(result, "2 statements", "one query at a time")
    assert result.stdout == ""


def test_a_temporary_table_or_a_pivot_before_the_result_is_no_second_result(published):
    assert cells(printed("CREATE TEMP TABLE t AS SELECT 41 AS n; SELECT n + 1 AS n FROM t;")) == [["42"]]
    assert cells(printed("PIVOT (SELECT 7 AS a, 'x' AS b) ON b USING sum(a)")) == [["7"]]


def test_the_progress_of_many_sessions_is_whole_on_60_columns(capsys):
    shown = SafeConsole(force_terminal=True, width=60, file=sys.stdout)
    with polling_progress(shown) as on_progress:
        counts = Counter({Outcome.FULFILLED: 40_000, Outcome.FAILED: 1_234})
        on_progress(Progress(200_000, seconds=3_600, requests=90_000, outcomes=counts))
    lines = [line.rstrip() for line in plain(capsys.readouterr().out).splitlines()]
    assert max(map(cell_len, lines)) <= 60
    assert any("Polling" in line and "41234/200000" in line and line.count(":") == 2 for line in lines)
    assert "1234 failed, 158766 pending, 25 requests/s, about 3.9 h left" in lines


def test_one_file_one_submission_and_one_row_are_singular(api, published):
    cut = phygitals_here("query", "FROM range(2)", "--limit", "1").stdout
    assert "the first 1 row;" in cut
    drop(published, "b.txt", "another\n")
    assert re.search(r"^New files: +1 new file in inbox$", phygitals_here("status").stdout, re.MULTILINE)


def test_one_simulated_submission_is_singular(api):
    assert "1 submission of the last" in phygitals_here("simulate", "--submissions", "1").stdout


def test_a_time_in_the_future_has_no_tables(published, tmp_path):
    tomorrow = (now() + timedelta(days=1)).isoformat()
    result = phygitals_here("rebuild", "--as-of", tomorrow, "--into", str(tmp_path / "past"))
    assert_one_line_error(result, tomorrow, "in the future", "give a time in the past")
    assert not (tmp_path / "past").exists()
