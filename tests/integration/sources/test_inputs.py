"""Inputs as people have them: what spreadsheets, databases and other programs make of submission files."""

from __future__ import annotations

import io
import subprocess
import sys
from datetime import datetime, timedelta

import pyarrow as pa
import pytest

from pipeline.clock import now
from pipeline.schema import TABLES
from pipeline.schema.findings import DATA_ISSUES
from pipeline.schema.staging import PULLS
from pipeline.simulator.server import Simulator
from pipeline.sources import formats
from pipeline.sources.columns import RowError
from pipeline.sources.csv_rows import csv_rows, rows_of
from pipeline.sources.formulas import escaped, unescaped
from pipeline.sources.inbox import Inbox
from pipeline.sources.intake import take_in
from pipeline.sources.listing import UnavailableFileError
from pipeline.steps import Workspace
from tests.support.answers import fulfilled
from tests.support.command_line import assert_one_line_error, phygitals_here
from tests.support.intake import Counted, ids, only_file, parquet, reasons, taken_in
from tests.support.workspace import build, derive, drop, lake_rows


@pytest.fixture
def workspace():
    return Workspace.open()


def test_column_names_count_in_any_case_in_every_format(workspace):
    drop(workspace, "a.csv", " Session_ID ,PACK_ID\na,p\n")
    drop(workspace, "b.jsonl", '{"SESSION_ID": "b", "Pack_Id": "p"}\n')
    drop(workspace, "c.parquet", parquet({"SESSION_ID": ["c"], "Pack_Id": ["p"]}))
    report = workspace.take_in()
    assert {(row["session_id"], row["pack_id"]) for row in taken_in(workspace)} == {("a", "p"), ("b", "p"), ("c", "p")}
    assert report.unknown_columns == {}


def test_blank_and_repeated_unknown_columns_are_ignored(workspace):
    drop(workspace, "a.csv", "note,session_id,,note,\nx,a,,y,\n")
    table = pa.Table.from_arrays([pa.array([c]) for c in "xyb"], names=["note", "note", "session_id"])
    drop(workspace, "b.parquet", parquet(table))
    report = workspace.take_in()
    assert ids(workspace) == {"a", "b"}
    assert report.unknown_columns == {"a.csv": ["note"], "b.parquet": ["note"]}


def test_a_column_of_ours_that_comes_twice_is_refused_in_every_format(workspace):
    drop(workspace, "a.csv", "session_id,Session_ID\n1,2\n")
    drop(workspace, "b.parquet", parquet(pa.Table.from_arrays([pa.array(["1"])] * 2, names=["session_id"] * 2)))
    drop(workspace, "c.jsonl", '{"session_id": "1", "Session_ID": "2"}\n{"session_id": "good"}\n')
    by_name = {file.source_file: file for file in workspace.take_in().files}
    assert "repeats session_id" in by_name["a.csv"].refused_because
    assert "repeats session_id" in by_name["b.parquet"].refused_because
    assert ids(workspace) == {"good"}
    assert "session_id is repeated" in reasons(workspace)


def test_empty_extra_fields_are_nothing_and_others_reject_their_row(workspace):
    drop(workspace, "a.csv", "session_id,pack_id\na,p,,\nb,p, \nc,p,x\n")
    report = only_file(workspace)
    assert (report.accepted, report.rejected) == (2, 1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "session_id,pack_id\na,p\nsession_id,pack_id\nb,p\n"),
        ("a.csv", "session_id,pack_id,note\na,p,\nPack_ID, SESSION_ID,NOTE\nb,p,\n"),
        ("a.csv", "session_id\na\nsession_id\nb\n"),
        ("a.txt", "Session_ID\na\nsession_id\nb\n"),
    ],
)
def test_a_header_that_comes_again_is_rejected(name, content, workspace):
    drop(workspace, name, content)
    report = only_file(workspace)
    assert (report.accepted, report.rejected) == (2, 1)
    assert ids(workspace) == {"a", "b"}
    (reason,) = reasons(workspace)
    assert reason.startswith("the header ") and "is repeated" in reason


@pytest.mark.parametrize("line", ["a,b", "a;b", "a\tb", '"a"', "'a'", "session_id,pack_id"])
def test_a_line_of_text_that_looks_like_csv_is_rejected(line, workspace):
    drop(workspace, "a.txt", f"good\n{line}\n")
    assert only_file(workspace).rejected == 1
    assert ids(workspace) == {"good"}
    (reason,) = reasons(workspace)
    assert "looks like CSV" in reason


def test_a_rejection_names_every_fault_and_the_columns(workspace):
    drop(workspace, "a.csv", "session_id,price_usd,quantity,initiated_at\ns,ten,0,soon\n,1,1,\n")
    workspace.take_in()
    build(workspace, DATA_ISSUES)
    first, second = lake_rows(workspace, "SELECT session_id, field, detail, raw_value FROM data_issues ORDER BY source")
    assert first == (
        "s",
        "initiated_at, price_usd, quantity",
        "initiated_at is not an ISO 8601 time; price_usd is not a number; quantity is not a whole number of at least 1",
        "soon, ten, 0",
    )
    assert second[:2] == (None, "session_id")


def test_the_same_bytes_are_read_once_in_each_format(folder, workspace):
    for name in ("a.csv", "a.jsonl", "b.NDJSON", "c.csv", "a.xlsx"):
        folder.drop(workspace, name, folder.csv("x"))
    report = folder.take_in(workspace)
    counts = {file.source_file: (file.accepted, file.rejected) for file in report.files}
    assert counts == {"a.csv": (1, 0), "a.jsonl": (0, 2), "a.xlsx": (0, 0)}
    assert sorted(report.already_known) == ["b.NDJSON", "c.csv"]
    (workspace.data.root / f"staging/{folder.kind.folder}_index.json").unlink()
    assert folder.take_in(workspace).files == []


def test_the_lines_of_a_text_are_known_from_the_same_bytes_as_csv(workspace):
    drop(workspace, "a.csv", "session_id\nx\n")
    drop(workspace, "a.txt", "session_id\nx\n")
    counts = {file.source_file: (file.accepted, file.duplicates) for file in workspace.take_in().files}
    assert counts == {"a.csv": (1, 0), "a.txt": (0, 1)}


def test_an_object_of_an_earlier_version_is_known_in_every_format(folder, workspace):
    folder.drop(workspace, "a.csv", folder.csv("x"))
    folder.take_in(workspace)
    (path,) = (workspace.data.root / "raw" / folder.kind.table.name).rglob("*.parquet")
    path.rename(path.with_name(path.name.replace("-as-csv", "")))
    folder.drop(workspace, "a.jsonl", folder.csv("x"))
    assert folder.take_in(workspace).already_known == ["a.jsonl"]


OUT_OF_MEMORY = """
import resource
from pipeline.steps import Workspace
workspace = Workspace.open()
workspace.take_in()
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (96 << 20),) * 2)
workspace.data.inbox.joinpath("small.txt").write_text("small")
print(*workspace.take_in().lines, sep="\\n")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited as Linux does it")
def test_a_file_for_which_memory_is_short_is_named_and_left_to_the_next_run(workspace):
    drop(workspace, "first.txt", "first")
    workspace.take_in()
    drop(workspace, "large.txt", b"x" * (128 << 20))
    # The first intake of the program reads nothing but imports everything.
    large = workspace.data.inbox / "large.txt"
    hidden = large.rename(large.with_name(".large.txt"))
    program = OUT_OF_MEMORY.replace(
        "size = ", f"workspace.data.inbox.joinpath('{hidden.name}').rename('{large}')\nsize = "
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "large.txt: not read, it cannot be read now: there is not enough memory" in done.stdout, done.stderr
    assert "small.txt: 1 rows read = 1 accepted" in done.stdout
    report = only_file(workspace)
    assert (report.source_file, report.rejected) == ("large.txt", 1)


class Broken(io.RawIOBase):
    """A file on a disk that fails."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, _offset: int, _whence: int = 0) -> int:
        return 1000

    def readinto(self, _buffer) -> int:
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl", "a.parquet"])
def test_a_disk_that_fails_while_a_file_is_read_rejects_nothing(name, folder):
    if formats.format_of(name) in folder.kind.refused_formats:
        pytest.skip("it is not read")
    with pytest.raises(UnavailableFileError, match="cannot be read now: Input/output error; the next run tries again"):
        list(formats.read(io.BufferedReader(Broken()), name, folder.kind, lambda _: None))


def test_a_file_that_grows_while_it_is_read_is_left_to_the_next_run(folder, workspace):
    path = folder.drop(workspace, "a.csv", folder.csv("one"))

    def clock() -> datetime:
        path.write_text(folder.csv("one", "two"))
        return now()

    with workspace.data.exclusive():
        report = take_in(workspace.data, clock, Inbox(workspace.data, folder.kind))
    assert report.files == []
    assert report.lines == ["a.csv: not read, it was changed while it was read; the next run reads it again"]
    assert folder.take_in(workspace).total("accepted") == 2


def test_the_escape_of_a_formula_is_taken_back_in_both_folders(folder, workspace):
    folder.drop(workspace, "a.csv", folder.csv("'=1+1", "'plain", "''-y"))
    assert folder.take_in(workspace).total("accepted") == 3
    assert folder.ids(workspace) == {"=1+1", "'plain", "'-y"}


ODD_IDS = ["=1+1", "+2", "-3", "@x", "'=1", "''-y", "'plain", "\uff1dwide", "a,b", 'q"q', "-"]


def test_an_export_that_is_submitted_again_names_the_same_sessions(api, tmp_path):
    api(Simulator(delay_scale=0, hold=0))
    workspace = Workspace.open()
    drop(workspace, "a.parquet", parquet({"session_id": ODD_IDS, "pack_id": ODD_IDS}))
    workspace.take_in()
    workspace.publish()
    exported = tmp_path / "export.csv"
    done = phygitals_here("query", "SELECT session_id, pack_id, price_usd FROM purchases", "--output", str(exported))
    assert done.returncode == 0, done.stderr
    assert "\n'=1+1," in exported.read_text(encoding="utf-8")
    assert phygitals_here("submit", str(exported)).returncode == 0
    report = only_file(workspace)
    assert (report.rows_read, report.duplicates) == (len(ODD_IDS), len(ODD_IDS))
    build(workspace, DATA_ISSUES)
    assert lake_rows(workspace, "FROM data_issues WHERE rule = 'conflicting_submission'") == []


@pytest.mark.parametrize("text", [*ODD_IDS, "", "'", "\t=x", "plain"])
def test_an_escaped_cell_stands_for_its_text(text):
    assert unescaped(escaped(text)) == text


def test_standard_input_names_ids_a_line():
    command = [sys.executable, "-m", "pipeline.cli.main", "submit", "-"]

    def submit(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, check=False)

    done = submit("session_id\r\none\n\n path/like.txt \n")
    assert done.stdout.startswith("2 session ids -> "), done.stderr
    workspace = Workspace.open()
    assert only_file(workspace).accepted == 2
    assert ids(workspace) == {"one", "path/like.txt"}
    assert_one_line_error(submit("one\ntwo,2\n"), "standard input, line 2", "looks like CSV", "nothing was submitted")
    assert_one_line_error(submit("\n"), "standard input has no session id")
    assert workspace.take_in().files == []


@pytest.mark.parametrize("argument", ["orders/ids", "./ids", "~/ids.csv", "ids.JSON", "ids.xlsx", "a\\b.txt"])
def test_what_looks_like_a_path_and_is_none_is_an_error(argument, workspace):
    assert_one_line_error(phygitals_here("submit", "good", argument), "there is no such file", "nothing was submitted")
    assert list(workspace.data.inbox.iterdir()) == []


def test_a_folder_is_not_submitted(tmp_path):
    assert_one_line_error(phygitals_here("submit", str(tmp_path)), str(tmp_path), "is not a file")


SPANNING = 'session_id,note\na,"x\ny"\n'

BROKEN = {
    'b",a,"\n': 20_000,  # each line closes what the one before opened, and the last is never closed
    's,"say \\"hi\\" now"\n': 20_000,
    '"\n': 19_999,
}


@pytest.mark.parametrize(("line", "count"), BROKEN.items())
def test_lines_that_break_the_quoting_are_gone_through_once(line, count):
    lines = Counted(SPANNING.splitlines(keepends=True) + [line] * count + ["good,1\n"])
    found = list(rows_of(lines))
    assert found[:2] == [(1, ["session_id", "note"]), (2, ["a", "x\ny"])]
    assert found[-1] == (len(lines), ["good", "1"])
    assert lines.handed < 6 * len(lines)


def test_a_line_that_breaks_the_quoting_costs_itself_and_what_spans_lines_stays_whole():
    text = SPANNING + 'b,"open\nc,1\n"d",2\ne,"f\n\ng"\nh,"i"j\nk,3\n'
    found = {number: row for number, row in csv_rows(text) if not isinstance(row, RowError)}
    assert found == {
        1: ["session_id", "note"],
        2: ["a", "x\ny"],
        5: ["c", "1"],
        6: ["d", "2"],
        7: ["e", "f\n\ng"],
        11: ["k", "3"],
    }


def test_an_impossible_time_is_a_finding_and_left_out_of_every_latency(api):
    api(Simulator(delay_scale=0, hold=0))
    workspace = Workspace.open()
    tomorrow = now() + timedelta(hours=23)
    times = {"old": "2014-12-31T23:59:59Z", "late": "2099-01-01", "zero": "1970-01-01", "near": tomorrow.isoformat()}
    drop(workspace, "a.csv", "session_id,initiated_at\n" + "".join(f"{k},{v}\n" for k, v in times.items()))
    derive(workspace, DATA_ISSUES, TABLES["resolution_funnel"])
    found = lake_rows(
        workspace, "SELECT session_id, field, detail FROM data_issues WHERE rule = 'implausible_time' ORDER BY 1"
    )
    assert found == [
        ("late", "initiated_at", "more than a day after the submission; excluded from latencies"),
        ("old", "initiated_at", "before 2015; excluded from latencies"),
        ("zero", "initiated_at", "before 2015; excluded from latencies"),
    ]
    assert lake_rows(workspace, "SELECT abs(latency_p99_seconds) < 3600 FROM resolution_funnel") == [(True,)]
    assert lake_rows(workspace, "SELECT count(*) FROM purchases WHERE year(initiated_at) IN (1970, 2014, 2099)") == [
        (3,)
    ]


def test_nuls_behind_names_and_ids_are_dropped_and_values_stay(api):
    item = {
        "id": "card\0\0",
        "buyback_price": 1,
        "mint_address": "card\0",
        "content": {"metadata": {"name": "Name\0\0\0", "attributes": [{"trait_type": "Set", "value": "Base\0"}]}},
    }
    api(Simulator(delay_scale=0, hold=0, scripts={"s": [fulfilled("s", item)]}))
    workspace = Workspace.open()
    drop(workspace, "a.txt", "s\n")
    derive(workspace, PULLS, TABLES["item_attributes"], TABLES["items"])
    assert lake_rows(workspace, "SELECT item_id, mint_address, name FROM pulls") == [("card", "card", "Name")]
    assert lake_rows(workspace, "SELECT item_id, value FROM item_attributes") == [("card", "Base\0")]
    assert lake_rows(workspace, "SELECT item_id, set_name FROM items") == [("card", "Base\0")]
