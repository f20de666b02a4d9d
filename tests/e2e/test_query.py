"""`phygitals query`: what it prints, what it writes, and what it refuses."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.publish.export import ExportError, chosen_format, export
from pipeline.publish.warehouse import open_warehouse
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from tests.support.answers import fulfilled
from tests.support.command_line import assert_one_line_error, on_a_terminal, phygitals_here
from tests.support.workspace import drop, refresh

FORMULA = '=HYPERLINK("https://example.invalid","open me")'


@pytest.fixture
def workspace(copy_of):
    items: list[dict] = [
        {"id": "card-1", "buyback_price": 12.5, "content": {"metadata": {"name": FORMULA}}},
        {"id": "card-2", "buyback_price": 3, "content": {"metadata": {"name": "Plain, with a comma"}}},
        {"id": "card-3", "content": {"metadata": {"name": "\u202eevil\x1b[2J"}}},
    ]
    scripts = {"s": [fulfilled("s", *items)]}

    def build(workspace: Workspace) -> None:
        drop(workspace, "a.csv", "session_id,pack_id,price_usd\ns,p,10\n")
        refresh(workspace)

    return copy_of("published", lambda: Simulator(delay_scale=0, hold=0, scripts=scripts), build)


def written(*arguments: str) -> str:
    result = phygitals_here("query", *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def read_csv(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def test_csv_parquet_and_json_hold_the_rows_with_their_types(workspace, tmp_path):
    sql = "SELECT pull_number, item_id, buyback_price_usd, pulled_at FROM pulls ORDER BY pull_number"
    for suffix in ("csv", "parquet", "json"):
        assert written(sql, "--output", str(tmp_path / f"rows.{suffix}")) == ""
    with (tmp_path / "rows.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["pull_number", "item_id", "buyback_price_usd", "pulled_at"]
    assert [row[:3] for row in rows] == [["1", "card-1", "12.5000"], ["2", "card-2", "3.0000"], ["3", "card-3", ""]]
    assert all(row[3].endswith("+00") for row in rows)
    parquet = pq.read_table(tmp_path / "rows.parquet")
    assert [str(field.type) for field in parquet.schema] == [
        *("int32", "string", "decimal128(18, 4)", "timestamp[us, tz=UTC]"),
    ]
    last = json.loads((tmp_path / "rows.json").read_text())[2]
    pulled_at = last.pop("pulled_at")
    assert last == {"pull_number": 3, "item_id": "card-3", "buyback_price_usd": None}
    assert "T" in pulled_at and pulled_at.endswith("Z")
    # A fraction that ends in zeros has fewer digits in CSV.
    assert datetime.fromisoformat(pulled_at) == datetime.fromisoformat(rows[2][3])


def test_a_format_goes_to_standard_output_unless_a_file_is_named(workspace):
    assert read_csv(written("SELECT item_id FROM pulls ORDER BY 1", "--format", "csv"))[1:] == [
        *(["card-1"], ["card-2"], ["card-3"]),
    ]
    assert json.loads(written("SELECT 1 AS one WHERE false", "--format", "json")) == []
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli.main", "query", "FROM pulls", "--format", "parquet"],
        capture_output=True,
        check=True,
    )
    assert pq.read_table(io.BytesIO(done.stdout)).num_rows == 3


def test_no_cell_of_a_csv_is_a_formula_and_numbers_stay_numbers(workspace):
    sql = """
        SELECT name AS "=name", -1.50 AS loss, -2::DOUBLE AS double_loss, '-3' AS text_loss, unnest(['@a', '+b']) AS at,
            DATE '2026-01-02' AS day, E'\\t=1' AS tabbed, '\uff1d1' AS wide, {'a': 1} AS nested,
            NULL AS nothing, '' AS blank
        FROM pulls WHERE pull_number = 1
    """
    header, first, second = read_csv(written(sql, "--format", "csv"))
    assert header[0] == "'=name"
    assert first == [
        *(f"'{FORMULA}", "-1.50", "-2.0", "'-3", "'@a", "2026-01-02", "'\t=1", "'\uff1d1", "{'a': 1}", "", ""),
    ]
    assert second[4] == "'+b"


def test_other_formats_keep_text_as_it_is(workspace):
    assert json.loads(written("SELECT name FROM pulls WHERE pull_number = 1", "--format", "json")) == [
        {"name": FORMULA}
    ]


def test_json_stays_json_where_a_number_is_not_finite(workspace):
    sql = "SELECT 'nan'::DOUBLE AS a, 'inf'::FLOAT AS b, 0.5::DOUBLE AS c"
    assert json.loads(written(sql, "--format", "json")) == [{"a": None, "b": None, "c": 0.5}]


def test_columns_of_one_name_are_both_written(workspace):
    assert read_csv(written("SELECT 1 AS a, 2 AS a", "--format", "csv"))[1] == ["1", "2"]


def test_a_file_is_replaced_whole_or_not_at_all(workspace, tmp_path):
    output = tmp_path / "it's rows.csv"
    output.write_text("old")
    failing = "SELECT CASE WHEN i < 900000 THEN i ELSE error('half-way') END FROM range(1000000) AS r(i)"
    assert_one_line_error(phygitals_here("query", failing, "-o", str(output)), "half-way")
    assert output.read_text() == "old"
    assert_one_line_error(phygitals_here("query", failing, "--format", "csv"), "half-way")
    assert phygitals_here("query", failing, "--format", "csv").stdout == ""
    written("SELECT 1 AS a", "-o", str(output))
    assert output.read_text() == "a\n1\n"
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []


@pytest.mark.parametrize(("name", "words"), [("rows.xlsx", "rows.xlsx: .*csv.* --format"), ("rows", "--format")])
def test_a_name_that_says_no_format_is_refused(name, words):
    with pytest.raises(ExportError, match=words):
        chosen_format(None, Path(name))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../none/rows.csv", "there is no folder"),
        ("../folder.csv", "is a folder"),
        ("lake/pulls/rows.csv", "is in the data directory"),
        ("raw/../staging/rows.csv", "is in the data directory"),
        ("phygitals.duckdb", "is in the data directory"),
    ],
)
def test_a_place_that_is_not_for_rows_is_refused(workspace, name, words):
    workspace.data.root.with_name("folder.csv").mkdir(exist_ok=True)
    before = workspace.data.warehouse.read_bytes()
    with open_warehouse(workspace.data.warehouse) as connection, pytest.raises(ExportError, match=words):
        export(connection, "SELECT 1", "csv", workspace.data.root / name, workspace.data)
    assert workspace.data.warehouse.read_bytes() == before


def test_a_disk_that_refuses_is_named(workspace):
    assert_one_line_error(
        phygitals_here("query", "SELECT 1", "-o", "/proc/rows.csv"), "/proc/rows.csv could not be written"
    )


def test_what_gives_no_rows_is_refused(workspace):
    assert_one_line_error(
        phygitals_here("query", "CREATE TEMP TABLE a AS SELECT 1", "--format", "csv"), "returns no rows"
    )


def test_parquet_is_not_written_to_a_terminal(workspace):
    told, code = on_a_terminal("query", "FROM pulls", "--format", "parquet")
    assert code == 1
    assert "--output FILE" in told


def test_a_reader_that_stops_early_is_no_error(workspace):
    command = f"{sys.executable} -m pipeline.cli.main query 'FROM range(1000000)' --format csv | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("range\n", "")


def test_a_long_result_is_cut_and_says_how_to_see_the_rest(workspace):
    cut = written("FROM range(1000) AS r(i)", "--limit", "3")
    assert "the first 3 rows; --limit 0 prints all" in cut
    assert "3 rows" in written("FROM range(3) AS r(i)", "--limit", "3").splitlines()
    assert "1,000 rows" in written("FROM range(1000) AS r(i)", "--limit", "0")
    assert "1 row" in written("SELECT 1").splitlines()


def test_a_value_that_python_cannot_hold_is_named_with_what_to_do(workspace):
    for rows in ("SELECT to_days(2000000000)", "SELECT to_days(i * 2000000000) FROM range(2) AS r(i)"):
        refused = phygitals_here("query", rows, "--limit", "1")
        assert_one_line_error(refused, "days=2000000000", "cast its column to VARCHAR")
    assert "2000000000 days" in written("SELECT to_days(2000000000)::VARCHAR")


def test_names_do_not_steer_the_terminal(workspace):
    shown = written("SELECT name FROM pulls WHERE pull_number = 3")
    assert "\x1b" not in shown and "\u202e" not in shown
    assert r"\u202eevil\u001b[2J" in shown
