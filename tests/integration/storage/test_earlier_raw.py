"""Raw answers of earlier versions, which have no column for repeated keys, are read, merged and sealed like others."""

from __future__ import annotations

import hashlib
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.polling.answers import Answer, interpret
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.schema.staging import PULLS
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from pipeline.storage import journal
from pipeline.storage.connection import connect
from pipeline.storage.objects import is_merged
from pipeline.storage.raw_log import Response, ResponseLog
from tests.support.lake import NOW, PAST, compact_at
from tests.support.workspace import build, drop, lake_rows

SENTENCE = "keys are repeated; of each, the last counts"  # as those versions wrote it, whatever is written now
EARLIER_SCHEMA = pa.schema([f for f in STATUS_RESPONSES.arrow_schema if f.name != "has_repeated_keys"])
REPEATING = '{"result": {"session_id": "%s", "nfts": [{"id": "first", "id": "last", "buyback_price": 1}]}}'
ORDINARY = '{"result": {"session_id": "%s", "nfts": [{"id": "only", "buyback_price": 2}]}}'


def earlier_rows(*session_ids: str) -> pa.RecordBatch:
    """An ordinary answer and one with repeated keys of each session, as an earlier version stored them."""
    found = []
    for number, session_id in enumerate(session_ids):
        body = (REPEATING if number % 2 == 0 else ORDINARY).replace("%s", session_id).encode()
        moment = PAST + timedelta(seconds=number)
        found.append(
            {
                "session_id": session_id,
                "requested_at": moment,
                "received_at": moment,
                "http_status": 200,
                "body": body,
                "body_sha256": hashlib.sha256(body).hexdigest(),
                "outcome": "fulfilled",
                "detail": SENTENCE if number % 2 == 0 else None,
            }
        )
    return pa.RecordBatch.from_pylist(found, EARLIER_SCHEMA)


def keep_object(workspace: Workspace, *session_ids: str) -> None:
    """Puts an object of an earlier version into raw."""
    path = workspace.data.root / "raw" / STATUS_RESPONSES.name / f"{PAST:%Y-%m-%d}" / "0-earlier.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_batches([earlier_rows(*session_ids)]), path)


def keep_answers_of_now(workspace: Workspace, *session_ids: str) -> None:
    """Puts an object of this version into raw, of the same day, with repeated keys in each answer."""
    log = ResponseLog(workspace.data, STATUS_RESPONSES, PAST)
    at = int(PAST.timestamp() * 1_000_000)
    for number, session_id in enumerate(session_ids):
        body = REPEATING.replace("%s", session_id).encode()
        meaning = interpret(session_id, Answer(200, {}, body))
        log.append(Response(session_id, at + number, at + number, 200, None, body, *meaning))
    log.close()


def item_ids(workspace: Workspace) -> list[tuple[str, str]]:
    build(workspace, PULLS)
    return lake_rows(workspace, "SELECT session_id, item_id FROM pulls ORDER BY session_id")


def flags(workspace: Workspace) -> list[tuple[str, bool | None, str | None]]:
    with connect(workspace.data) as connection:
        scan = workspace.data.store.scan(STATUS_RESPONSES)
        return connection.execute(f"SELECT session_id, has_repeated_keys, detail FROM {scan} ORDER BY 1").fetchall()


@pytest.fixture
def workspace(api) -> Workspace:
    api(Simulator(hold=0))
    workspace = Workspace.open()
    drop(workspace, "a.txt", "\n".join(["a", "b", "x", "y"]))
    workspace.take_in()
    return workspace


def test_in_an_object_without_the_column_the_last_of_repeated_keys_counts(workspace):
    keep_object(workspace, "a", "b")
    assert item_ids(workspace) == [("a", "last"), ("b", "only")]
    assert flags(workspace) == [("a", None, SENTENCE), ("b", None, None)]


def test_objects_with_and_without_the_column_are_read_together(workspace):
    keep_object(workspace, "a", "b")
    keep_answers_of_now(workspace, "x", "y")
    expected = [("a", "last"), ("b", "only"), ("x", "last"), ("y", "last")]
    assert item_ids(workspace) == expected
    assert [flag for _, flag, _ in flags(workspace)] == [None, None, True, True]
    with connect(workspace.data) as connection:
        found = connection.execute(workspace.data.store.scan_with_origin(STATUS_RESPONSES)).to_arrow_table()
    origins = zip(found["session_id"].to_pylist(), found["raw_row"].to_pylist(), strict=True)
    assert sorted(origins) == [("a", 1), ("b", 2), ("x", 1), ("y", 2)]


def test_objects_with_and_without_the_column_are_merged_and_read_as_before(workspace):
    keep_object(workspace, "a", "b")
    keep_answers_of_now(workspace, "x", "y")
    expected, stored = item_ids(workspace), flags(workspace)
    compact_at(workspace.data, NOW)
    compact_at(workspace.data, NOW + timedelta(days=400))
    (paths,) = workspace.data.store.parts(STATUS_RESPONSES).values()
    assert [is_merged(path) for path in paths] == [True]
    assert flags(workspace) == stored
    with workspace.builder() as builder:
        builder.forget_all()
    assert item_ids(workspace) == expected


@pytest.mark.parametrize("suffix", [".journal", ".arrows"])
def test_a_journal_that_an_earlier_version_left_is_sealed(suffix, workspace):
    path = workspace.data.journal(STATUS_RESPONSES) / f"20260301T120000-earlier{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    batch = earlier_rows("a", "b")
    if suffix == ".journal":
        path.write_bytes(b"".join(bytes(piece) for piece in journal.frame(batch)))
    else:
        with pa.ipc.new_stream(str(path), EARLIER_SCHEMA) as stream:
            stream.write_batch(batch)
    assert workspace.take_in().recovered == []
    assert item_ids(workspace) == [("a", "last"), ("b", "only")]


def test_raw_without_the_column_is_copied_for_a_rebuild_as_of_a_moment(workspace, tmp_path):
    keep_object(workspace, "a", "b")
    workspace.rebuild_as_of(PAST + timedelta(seconds=0.5), tmp_path / "past")
    (copied,) = (tmp_path / "past" / "raw" / STATUS_RESPONSES.name).rglob("*.parquet")
    found = pq.ParquetFile(copied).read()
    assert found.schema.equals(STATUS_RESPONSES.arrow_schema)
    assert found["has_repeated_keys"].to_pylist() == [None]
