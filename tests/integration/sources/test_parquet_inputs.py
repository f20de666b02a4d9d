"""Parquet files of submissions as other programs write them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from decimal import Decimal

import duckdb
import pyarrow as pa
import pytest

from pipeline.sources import parquet_rows
from pipeline.steps import Workspace
from tests.support.intake import ids, only_file, parquet, reasons, taken_in
from tests.support.workspace import drop


@pytest.fixture
def workspace():
    return Workspace.open()


ZONES = ("tzutc()", "GMT+3", "W. Europe Standard Time", "Europe/Berlim", "+02:00", "UTC")


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_moments_of_parquet_are_read_whatever_zone_is_named_beside_them(zone, unit, workspace):
    moment = datetime(2026, 3, 1, 10, tzinfo=UTC)
    times = pa.array([moment, None]).cast(pa.timestamp(unit, "UTC")).cast(pa.timestamp(unit, zone))
    drop(workspace, "a.parquet", parquet({"session_id": ["a", "b"], "initiated_at": times}))
    assert only_file(workspace).accepted == 2
    assert {row["session_id"]: row["initiated_at"] for row in taken_in(workspace)} == {"a": moment, "b": None}


def test_binary_text_and_uuids_of_parquet_are_read(workspace, tmp_path):
    known = uuid.uuid4()
    drop(
        workspace,
        "a.parquet",
        parquet({"session_id": [b"a", b"b\xff"], "pack_id": pa.array([b"pp\0\0"] * 2, pa.binary(4))}),
    )
    for encoding in ("DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"):
        options = {"use_dictionary": False, "column_encoding": {"session_id": encoding}}
        drop(workspace, f"{encoding}.parquet", parquet({"session_id": [encoding, None]}, **options))
    duckdb.sql(f"COPY (SELECT '{known}'::UUID AS session_id) TO '{tmp_path / 'u.parquet'}'")
    drop(workspace, "u.parquet", (tmp_path / "u.parquet").read_bytes())
    workspace.take_in()
    assert ids(workspace) == {"a", str(known), "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"}
    assert {row["pack_id"] for row in taken_in(workspace) if row["session_id"] == "a"} == {"pp"}
    assert sorted(reasons(workspace)) == ["session_id is empty"] * 2 + ["session_id is not valid UTF-8"]


def test_text_of_parquet_that_is_no_utf_8_rejects_its_row_alone(workspace):
    broken = pa.Array.from_buffers(pa.string(), 3, pa.array([b"a", b"b\xff", b"c"]).buffers())
    drop(workspace, "a.parquet", parquet({"session_id": broken}))
    assert only_file(workspace).rejected == 1
    assert ids(workspace) == {"a", "c"}


def test_a_parquet_file_is_refused_by_what_it_declares_before_it_is_read(folder, workspace, monkeypatch):
    good = {name: [value] for name, value in folder.good("a").items()}
    long, other = ["x" * (140 << 20)], folder.kind.columns[-1]
    content = parquet(good | {other: long}, compression="zstd")
    assert len(content) < 100_000
    folder.drop(workspace, "large.parquet", content)
    folder.drop(workspace, "note.parquet", parquet(good | {"note": long}, compression="zstd"))
    folder.drop(workspace, "lists.parquet", parquet(good | {folder.id_column: [["a", "b"]]}))
    wide = pa.array([b"x" * 20_000], pa.binary(20_000))
    folder.drop(workspace, "wide.parquet", parquet(good | {folder.id_column: wide}))
    by_name = {file.source_file: file for file in folder.take_in(workspace).files}
    assert f"its column {other} declares 146,8" in by_name["large.parquet"].refused_because
    assert "several values per row" in by_name["lists.parquet"].refused_because
    assert "values of 20,000 bytes" in by_name["wide.parquet"].refused_because
    assert folder.ids(workspace) == {"a"}
    for limit in ("MAX_ROWS", "MAX_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(parquet_rows, limit, 1)
            folder.drop(workspace, "more.parquet", parquet({folder.id_column: ["a", limit]}))
            (report,) = folder.take_in(workspace).files
            assert "split the file" in report.refused_because


def test_a_text_that_parquet_keeps_once_for_many_rows_is_not_multiplied(workspace):
    text = pa.DictionaryArray.from_arrays(pa.array([0, 1] * 10_000), pa.array(["x" * (1 << 20), "p"]))
    drop(workspace, "a.parquet", parquet({"session_id": [f"s{i}" for i in range(20_000)], "pack_id": text}))
    report = only_file(workspace)
    assert (report.accepted, report.rejected) == (10_000, 10_000)
    assert set(reasons(workspace)) == {"pack_id has 1,048,576 bytes; at most 16,384 are read"}


def test_details_are_read_exactly_from_binary_columns(workspace):
    columns = {"session_id": [b"s"], "price_usd": [b"12.5"], "quantity": [b"2"], "initiated_at": [b"2026-01-15"]}
    drop(workspace, "a.parquet", parquet(columns))
    workspace.take_in()
    (row,) = taken_in(workspace)
    assert (row["price_usd"], row["quantity"]) == (Decimal("12.5"), 2)
    assert row["initiated_at"] == datetime(2026, 1, 15, tzinfo=UTC)
