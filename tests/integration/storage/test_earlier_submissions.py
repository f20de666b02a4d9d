"""Raw submissions of earlier versions, which have no column for a database's cursor, are read like others."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.clock import now
from pipeline.schema.findings import DATA_ISSUES
from pipeline.schema.raw import SESSION_SUBMISSIONS
from pipeline.schema.staging import PURCHASES
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from tests.support.workspace import derive, drop, lake_rows

EARLIER_SCHEMA = pa.schema([f for f in SESSION_SUBMISSIONS.arrow_schema if f.name != "source_cursor"])
PAST = now() - timedelta(days=2)


def keep_object(workspace: Workspace) -> None:
    """Puts an object of an earlier version into raw: an accepted row, and a rejected one."""
    shared = {"content_sha256": "0" * 64, "source_file": "old.csv", "submitted_at": PAST}
    found = [
        shared | {"row_number": 2, "session_id": "old", "price_usd": 5},
        shared | {"row_number": 3, "session_id": "bad", "rejected_reason": "price_usd is not a number"},
    ]
    path = workspace.data.raw / SESSION_SUBMISSIONS.name / f"{PAST:%Y-%m-%d}" / f"{'0' * 64}-as-csv.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(found, EARLIER_SCHEMA), path)


def test_objects_with_and_without_the_column_are_read_together(api):
    api(Simulator(delay_scale=0, hold=0))
    workspace = Workspace.open()
    keep_object(workspace)
    drop(workspace, "new.csv", "session_id,price_usd\nnew,6\nold,7\n")
    derive(workspace, PURCHASES, DATA_ISSUES)
    assert lake_rows(workspace, "SELECT session_id, status, price_usd, source_file FROM purchases ORDER BY ALL") == [
        ("new", "fulfilled", 6, "new.csv"),
        ("old", "fulfilled", 5, "old.csv"),
    ]
    found = "SELECT rule, source FROM data_issues WHERE table_name IN ('session_submissions', 'purchases') ORDER BY ALL"
    assert lake_rows(workspace, found) == [
        ("conflicting_submission", "new.csv row 3"),
        ("rejected_row", "old.csv row 3"),
    ]


def test_a_copy_as_of_a_past_time_has_the_column(tmp_path):
    workspace = Workspace.open()
    keep_object(workspace)
    drop(workspace, "new.txt", "new\n")
    workspace.take_in()
    workspace.rebuild_as_of(now(), tmp_path / "copy")
    (kept,) = (tmp_path / "copy").rglob(f"{'0' * 64}-as-csv.parquet")
    assert pq.read_schema(kept).names == SESSION_SUBMISSIONS.arrow_schema.names
