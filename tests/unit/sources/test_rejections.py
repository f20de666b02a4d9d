"""Rows and files that are rejected: each with its reason, and no other with it."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.sources import inbox
from pipeline.sources.columns import RowError
from pipeline.sources.csv_rows import rows_of
from pipeline.steps import Workspace
from pipeline.storage.errors import DataDirectoryError
from tests.support.intake import Counted, only_file, taken_in
from tests.support.workspace import drop


@pytest.fixture
def workspace():
    return Workspace.open()


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (",1", "session_id is empty"),
        ("a b,1", "white space"),
        ("a\u00a0b,1", "white space"),
        ("a\x07b,1", "unprintable"),
        ("x" * 257 + ",1", "257 characters"),
        ("s,abc", "price_usd is not a number"),
        ("s,-1", "price_usd is not in the range from 0 to below 10^11"),
        ("s,NaN", "price_usd is not a finite number"),
        ("s,100000000000", "price_usd is not in the range from 0 to below 10^11"),
        ("s,1,2", "the row has 3 fields, the header 2"),
        ('"s"x,1', "the quoting is broken"),
    ],
)
def test_a_bad_csv_row_is_rejected_with_its_reason_and_stops_no_other(row, reason, workspace):
    drop(workspace, "a.csv", f"session_id,price_usd\ngood1,1\n{row}\ngood2,2\n")
    report = only_file(workspace)
    assert (report.rows_read, report.accepted, report.rejected) == (3, 2, 1)
    (rejected,) = [r for r in taken_in(workspace) if r["rejected_reason"]]
    assert reason in rejected["rejected_reason"]
    assert rejected["row_number"] == 3


def test_a_file_full_of_broken_rows_is_gone_through_once():
    lines = Counted(["session_id,name\n", *['s,"say \\"hi\\" now"\n'] * 1_000])
    found = list(rows_of(lines))
    assert sum(isinstance(row, RowError) for _, row in found) == 1_000
    assert lines.handed < 5 * len(lines)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("initiated_at", '"yesterday"', "initiated_at is not an ISO 8601 time"),
        ("initiated_at", "1700000000", "initiated_at is not an ISO 8601 time"),
        ("initiated_at", "1735101592030", "initiated_at is not an ISO 8601 time"),  # else a day of the year 1735
        ("initiated_at", '"2026-01-15-1130"', "initiated_at is not an ISO 8601 time"),
        ("initiated_at", '"0001-01-01T00:00:00+14:00"', "initiated_at is out of range"),
        ("quantity", "0", "quantity is not a whole number"),
        ("quantity", "1.5", "quantity is not a whole number"),
        ("pack_id", "[1]", "pack_id is not text"),
        ("user_id", "true", "user_id is not text"),
        ("user_id", '"\\ud800"', "user_id is not valid Unicode"),
        ("session_id", "{}", "session_id is not text"),
    ],
)
def test_a_bad_json_value_is_rejected_with_its_reason(field, value, reason, workspace):
    line = f'{{"session_id": "s", "{field}": {value}}}'
    drop(workspace, "a.jsonl", f'{{"session_id": "good"}}\n{line}\n')
    report = only_file(workspace)
    assert (report.accepted, report.rejected) == (1, 1)
    (rejected,) = [r for r in taken_in(workspace) if r["rejected_reason"]]
    assert reason in rejected["rejected_reason"]
    assert rejected["session_id"] == (None if field == "session_id" else "s")


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[1]",
        b'{"session_id": NaN}',
        b'{"session_id": "\xff"}',
        b"[" * 100_000,
        b'{"session_id": "x", "price_usd": 1e99999999999999999999}',
        b'{"session_id": 1e999999999}',
    ],
    ids=range(7),
)
def test_a_line_that_is_no_json_object_is_rejected_alone(line, workspace):
    drop(workspace, "a.jsonl", b'{"session_id": "good"}\n' + line + b"\n")
    report = only_file(workspace)
    assert (report.accepted, report.rejected) == (1, 1)


def test_undecodable_bytes_reject_only_their_row(workspace):
    drop(workspace, "a.csv", b"session_id,pack_id\ngood,a\nbad,\xff\n")
    drop(workspace, "b.txt", b"fine\n\xff\xff\n")
    counts = {f.source_file: (f.accepted, f.rejected) for f in workspace.take_in().files}
    assert counts == {"a.csv": (1, 1), "b.txt": (1, 1)}


def test_an_unclosed_quote_costs_its_own_line_only(folder, workspace):
    folder.drop(workspace, "a.csv", folder.csv("a", "bad", "c", "d").replace("bad", '"bad'))
    assert folder.take_in(workspace).total("rejected") == 1
    assert folder.ids(workspace) == {"a", "c", "d"}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", "id\n1\n", "no column {id}"),
        ("a.csv", "{id},{id}\n1,2\n", "its header repeats {id}"),
        ("a.csv", "", "no column {id}"),
        ("a.csv", "1\n".encode("utf-16"), "UTF-16"),
        ("a.jsonl", "1\n".encode("utf-16"), "UTF-16"),
        ("a.parquet", b"PAR1 not really", "not readable Parquet"),
        ("a.xlsx", b"PK", "its name ends in .xlsx"),
        ("noext", b"x", "no suffix"),
    ],
)
def test_a_file_that_cannot_be_read_is_rejected_whole_with_its_reason(name, content, reason, folder, workspace):
    reason = reason.format(id=folder.id_column)
    folder.drop(workspace, name, content.format(id=folder.id_column) if isinstance(content, str) else content)
    folder.drop(workspace, "good.csv", folder.csv("fine"))
    by_name = {f.source_file: f for f in folder.take_in(workspace).files}
    assert reason in by_name[name].refused_because
    assert by_name[name].rows_read == 0
    assert by_name["good.csv"].accepted == 1
    (stored,) = [row for row in folder.raw(workspace) if row["row_number"] == 0]
    assert reason in stored["rejected_reason"]


def test_a_file_that_cannot_be_opened_is_tried_again(folder, workspace):
    path = folder.drop(workspace, "a.csv", folder.csv("one"))
    path.unlink()
    path.symlink_to(path)  # a loop: listed, but not a file that can be read
    assert folder.take_in(workspace).files == []
    path.unlink()
    folder.drop(workspace, "a.csv", folder.csv("one"))
    assert folder.take_in(workspace).total("accepted") == 1


def test_a_parquet_value_that_cannot_be_read_rejects_only_its_row(folder, workspace):
    time = {"inbox": "initiated_at", "sellbacks": "sold_at"}[folder.kind.folder]
    columns = {folder.id_column: ["bad", "good"], time: pa.array([10**18, 0], pa.timestamp("us"))}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    folder.drop(workspace, "a.parquet", buffer.getvalue())
    assert folder.take_in(workspace).total("rejected") == 1
    assert folder.ids(workspace) == {"good"}


@pytest.mark.parametrize(("column", "value"), [("price_usd", "1_000"), ("initiated_at", "2026-01-01x10:00")])
def test_what_only_python_takes_for_a_value_is_rejected(column, value, workspace):
    drop(workspace, "a.csv", f"session_id,{column}\ns,{value}\n")
    assert only_file(workspace).rejected == 1


def test_a_file_that_cannot_be_read_is_not_submitted_and_the_error_says_so(workspace, tmp_path):
    with pytest.raises(DataDirectoryError, match=r"gone\.csv could not be read and was not submitted: No such file"):
        inbox.submit_file(workspace.data, tmp_path / "gone.csv", datetime.now(UTC))
    assert list(workspace.data.inbox.iterdir()) == []
