"""Intake: what a file brings, row by row, and what is refused, with its reason."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from decimal import Decimal

import pandas as pd
import pytest

from pipeline.clock import now
from pipeline.sources import inbox
from pipeline.sources.kinds import SESSIONS
from pipeline.steps import Workspace
from tests.support.intake import only_file, taken_in
from tests.support.workspace import build_all, drop, rows


@pytest.fixture
def workspace():
    return Workspace.open()


def test_a_text_file_brings_an_id_a_line(workspace):
    drop(workspace, "a.txt", "\ufeffone\r\n\r\n  two  \nthree")
    assert only_file(workspace).accepted == 3
    assert {row["session_id"] for row in taken_in(workspace)} == {"one", "two", "three"}


def test_a_csv_brings_its_details_in_their_types(workspace):
    drop(
        workspace,
        "sub/a.csv",
        "session_id,initiated_at,pack_id,price_usd,quantity,user_id\n"
        's1,2026-03-01T10:00:00+02:00,"pack, one",12.34565,2,u1\n'
        "s2,2026-03-01 10:00:00,,,3.0,\n",
    )
    assert only_file(workspace).accepted == 2
    first, second = sorted(taken_in(workspace), key=lambda row: row["session_id"])
    assert first["initiated_at"] == datetime(2026, 3, 1, 8, tzinfo=UTC)
    assert (first["pack_id"], first["price_usd"], first["quantity"], first["user_id"]) == (
        "pack, one",
        Decimal("12.3457"),
        2,
        "u1",
    )
    assert first["source_file"] == "sub/a.csv"
    assert second["initiated_at"] == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert (second["pack_id"], second["price_usd"], second["quantity"], second["user_id"]) == (None, None, 3, None)


@pytest.mark.parametrize("suffix", ["jsonl", "ndjson"])
def test_json_lines_bring_exact_numbers(suffix, workspace):
    line = '{"session_id": "s1", "price_usd": 0.00005, "quantity": 1, "initiated_at": "2026-03-01T10:00:00Z"}\n'
    drop(workspace, f"a.{suffix}", line)
    only_file(workspace)
    (row,) = taken_in(workspace)
    assert row["price_usd"] == Decimal("0.0001")


def test_parquet_brings_what_pandas_wrote(workspace):
    frame = pd.DataFrame(
        {
            "session_id": ["s1", "s2", None],
            "initiated_at": pd.to_datetime(["2026-03-01T10:00:00", "NaT", "NaT"]),
            "price_usd": [1.5, float("nan"), 2.0],
            "quantity": [1.0, float("nan"), 1.0],
        }
    )
    content = io.BytesIO()
    frame.to_parquet(content)
    drop(workspace, "a.parquet", content.getvalue())
    report = only_file(workspace)
    assert (report.accepted, report.rejected) == (2, 1)
    by_id = {row["session_id"]: row for row in taken_in(workspace)}
    assert by_id["s1"]["initiated_at"] == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert by_id["s2"]["price_usd"] is None


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-15", "2026-01-15 00:00"),
        ("20260115", "2026-01-15 00:00"),
        ("2026-W03-4", "2026-01-15 00:00"),
        ("2026W034T11", "2026-01-15 11:00"),
        ("2026-01-15 11:30", "2026-01-15 11:30"),
        ("2026-01-15T11:30:00Z", "2026-01-15 11:30"),
        ("20260115T133000+0200", "2026-01-15 11:30"),
    ],
)
def test_a_time_may_be_in_each_form_of_iso_8601(text, moment, workspace):
    drop(workspace, "a.csv", f"session_id,initiated_at\ns,{text}\n")
    assert only_file(workspace).accepted == 1
    (row,) = taken_in(workspace)
    assert row["initiated_at"] == datetime.fromisoformat(moment).replace(tzinfo=UTC)


def test_a_rejected_session_can_be_mended_and_submitted_again(workspace):
    drop(workspace, "a.csv", "session_id,price_usd\ns,ten\n")
    workspace.take_in()
    drop(workspace, "b.csv", "session_id,price_usd\ns,10\n")
    assert only_file(workspace).accepted == 1
    build_all(workspace)
    workspace.publish()
    assert rows(workspace, "SELECT session_id, price_usd FROM purchases") == [("s", Decimal(10))]
    assert rows(workspace, "SELECT rule, session_id, source, raw_value FROM data_issues") == [
        ("rejected_row", "s", "a.csv row 2", "ten")
    ]


@pytest.mark.parametrize("name", [".hidden.txt", "a.txt.tmp", "a.part", "a.crdownload", ".folder/a.txt"])
def test_hidden_and_unfinished_files_are_ignored(name, workspace):
    drop(workspace, name, "one\n")
    assert workspace.take_in().files == []


@pytest.mark.parametrize("name", [".orders.csv.tmp", "shop-a/.orders.csv.tmp", "shop-a/new/.x.tmp"])
def test_an_unfinished_file_is_left_to_whoever_writes_it(name, workspace):
    path = drop(workspace, name, "session_id\n")
    workspace.take_in()
    assert path.read_text() == "session_id\n"


def test_a_file_is_read_once_and_left_as_it_is(workspace):
    path = drop(workspace, "a.txt", "one\n")
    before = path.stat()
    assert only_file(workspace).accepted == 1
    again = workspace.take_in()
    assert (again.files, again.already_known) == ([], [])
    assert path.read_text() == "one\n"
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_the_same_content_under_another_name_adds_nothing(workspace):
    drop(workspace, "a.txt", "one\n")
    workspace.take_in()
    drop(workspace, "b.txt", "one\n")
    again = workspace.take_in()
    assert (again.files, again.already_known) == ([], ["b.txt"])
    (line,) = again.lines
    assert line.startswith("b.txt: its content was read before and adds nothing")
    assert len(taken_in(workspace)) == 1


def test_the_same_content_is_known_even_when_the_index_is_lost(workspace):
    drop(workspace, "a.txt", "one\n")
    workspace.take_in()
    (workspace.data.root / "staging/inbox_index.json").unlink()
    assert workspace.take_in().already_known == ["a.txt"]
    assert len(taken_in(workspace)) == 1


def test_a_file_whose_content_changed_is_read_again(workspace):
    drop(workspace, "a.txt", "one\n")
    workspace.take_in()
    drop(workspace, "a.txt", "one\ntwo\n")
    report = only_file(workspace)
    assert (report.accepted, report.duplicates) == (1, 1)


def test_a_file_refused_as_one_format_is_read_under_another_name(workspace):
    drop(workspace, "ids.csv", "one\ntwo\n")
    assert only_file(workspace).refused_because
    drop(workspace, "ids.txt", "one\ntwo\n")
    assert only_file(workspace).accepted == 2


def test_duplicates_are_counted_within_and_across_files(folder, workspace):
    folder.drop(workspace, "a.csv", folder.csv("one", "one", "two"))
    (report,) = folder.take_in(workspace).files
    assert (report.rows_read, report.accepted, report.duplicates) == (3, 2, 1)
    folder.drop(workspace, "b.csv", folder.csv("two", "three"))
    (report,) = folder.take_in(workspace).files
    assert (report.accepted, report.duplicates) == (1, 1)


def test_unknown_columns_are_named_once_and_ignored(workspace):
    drop(workspace, "a.csv", "session_id,colour,size\n1,red,2\n2,blue,3\n")
    report = workspace.take_in()
    assert report.unknown_columns == {"a.csv": ["colour", "size"]}
    assert report.total("accepted") == 2


def test_the_first_submission_wins_and_a_different_later_one_is_an_issue(workspace):
    drop(workspace, "1.csv", "session_id,price_usd,pack_id\ns,10,p\nt,5,\n")
    workspace.take_in()
    drop(workspace, "2.csv", "session_id,price_usd,pack_id\ns,10,p\nt,5,q\n")
    workspace.take_in()
    drop(workspace, "3.csv", "session_id,price_usd\ns,11\n")
    workspace.take_in()
    drop(workspace, "4.txt", "s\n")
    workspace.take_in()
    build_all(workspace)
    workspace.publish()
    assert rows(workspace, "SELECT session_id, price_usd, pack_id, source_file FROM purchases ORDER BY 1") == [
        ("s", Decimal("10.0000"), "p", "1.csv"),
        ("t", Decimal("5.0000"), None, "1.csv"),
    ]
    assert rows(workspace, "SELECT rule, session_id, source, field, detail FROM data_issues ORDER BY observed_at") == [
        (
            "conflicting_submission",
            "t",
            "2.csv row 3",
            "pack_id",
            "differs from the first submission, which counts: pack_id q instead of none",
        ),
        (
            "conflicting_submission",
            "s",
            "3.csv row 2",
            "price_usd",
            "differs from the first submission, which counts: price_usd 11.0000 instead of 10.0000",
        ),
    ]


def test_of_a_long_value_that_contradicts_the_first_one_an_issue_shows_the_beginning(workspace):
    for name, user in (("1.csv", "u" * 1000), ("2.csv", "v" * 1000)):
        drop(workspace, name, f"session_id,user_id\ns,{user}\n")
        workspace.take_in()
    build_all(workspace)
    workspace.publish()
    ((detail, raw_value),) = rows(workspace, "SELECT detail, raw_value FROM data_issues")
    assert detail.endswith("v" * 200 + " instead of " + "u" * 200)
    assert raw_value == "v" * 200


def test_submitting_the_same_ids_again_is_a_new_file(workspace):
    for _ in range(2):
        inbox.submit_ids(workspace.data, ["one", "two"], now())
        assert only_file(workspace).rows_read == 2
    assert workspace.take_in().unknown_columns == {}


def test_only_unread_files_are_new(workspace):
    drop(workspace, "a.txt", "one\n")
    first = inbox.Inbox(workspace.data, SESSIONS).new_files()
    assert [file.name for file in first] == ["a.txt"]
    workspace.take_in()
    assert inbox.Inbox(workspace.data, SESSIONS).new_files() == []
    drop(workspace, "b.txt", "two\n")
    second = inbox.Inbox(workspace.data, SESSIONS).new_files()
    assert [file.name for file in second] == ["b.txt"]
    assert inbox.fingerprint(first) != inbox.fingerprint(second)


def test_a_column_name_that_is_no_text_is_named_all_the_same(workspace):
    drop(workspace, "a.jsonl", b'{"session_id": "x", "\\ud800col": 1}\n')
    report = workspace.take_in()
    assert report.files[0].accepted == 1
    assert report.lines[-1].encode()
    assert report.unknown_columns == {"a.jsonl": ["?col"]}


def test_whole_numbers_that_pandas_made_floats_are_ids_all_the_same(workspace):
    frame = pd.DataFrame({"session_id": ["a", "b"], "pack_id": [13, None]})
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    drop(workspace, "a.parquet", buffer.getvalue())
    assert only_file(workspace).accepted == 2
    assert sorted((row["session_id"], row["pack_id"]) for row in taken_in(workspace)) == [("a", "13"), ("b", None)]
