"""Merging under kills, damage and little memory: every row stays, once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import timedelta

import pyarrow.parquet as pq
import pytest

from pipeline.cli.refresh import run_refresh
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.simulator.server import PENDING
from pipeline.steps import Workspace
from pipeline.storage import raw_log
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.errors import DamagedFileError, StoreError
from pipeline.storage.raw_log import Response, ResponseLog
from tests.support.compaction import ROWS_A_RUN, RUNS, answer, let_an_hour_pass, objects, raw_rows
from tests.support.lake import NOW, PAST, compact_at
from tests.support.workspace import build_all


def test_a_damaged_raw_object_keeps_a_run_neither_from_publishing_nor_from_reporting(workspace):
    build_all(workspace)
    damaged = max((workspace.data.root / "raw" / "status_responses" / "2026-03-02").glob("*.parquet"))
    group = pq.read_metadata(damaged).row_group(0)
    (body,) = [c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == "body"]
    content = bytearray(damaged.read_bytes())
    content[body.data_page_offset : body.data_page_offset + 40] = bytes(40)
    damaged.write_bytes(content)
    workspace.data.report.unlink(missing_ok=True)
    told: list[str] = []
    run_refresh(told.append, lambda _progress: None)
    (line,) = [line for line in told if "not merged" in line]
    assert damaged.name in line and "restore it from a backup" in line
    assert workspace.data.report.exists()


COMPACT_UNTIL_KILLED = """
import os, sys
from datetime import datetime
from pathlib import Path
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.storage import compaction, local_folder, object_writer, objects
from pipeline.storage.data_directory import DataDirectory

root, moment, steps_left = Path(sys.argv[1]), datetime.fromisoformat(sys.argv[2]), int(sys.argv[3])

def step(function):
    def count(*arguments):
        global steps_left
        if not steps_left:
            os._exit(9)
        steps_left -= 1
        return function(*arguments)
    return count

writer = object_writer.ObjectWriter
writer._write_group, writer._publish = step(writer._write_group), step(writer._publish)
local_folder.sync = step(local_folder.sync)  # of the file before it gets its name, and of the folder after
objects.Store.remove = step(objects.Store.remove)
data = DataDirectory(root)
with data.exclusive():
    compaction.compact(data, STATUS_RESPONSES, moment)
"""

STEPS_OF_A_MERGE = 4  # a row group, the publication, and a sync on either side of the renaming
STEPS_OF_A_DELETION = RUNS


@pytest.mark.parametrize("is_merged_already", [False, True])
def test_a_kill_at_any_step_of_the_merge_or_the_deletion_leaves_every_row_once(is_merged_already, workspace, tmp_path):
    moment = PAST + timedelta(days=1)
    before = raw_rows(workspace.data)
    if is_merged_already:
        compact_at(workspace.data, moment)
        let_an_hour_pass(workspace.data, moment)
    steps = STEPS_OF_A_DELETION if is_merged_already else STEPS_OF_A_MERGE
    for steps_done in range(steps + 1):
        root = shutil.copytree(workspace.data.root, tmp_path / f"killed after {steps_done}")
        arguments = [sys.executable, "-c", COMPACT_UNTIL_KILLED, root, moment.isoformat(), str(steps_done)]
        assert subprocess.run(arguments, check=False, timeout=60).returncode == (0 if steps_done == steps else 9)
        data = DataDirectory(root)
        assert raw_rows(data) == before
        for _ in range(2):
            compact_at(data, moment)
            assert raw_rows(data) == before
            let_an_hour_pass(data, moment)
        assert len(objects(data, "2026-03-01")) == 1
        assert list((root / "raw").rglob(".*.tmp")) == []


COMPACT_AND_TELL_MEMORY = """
import sys
from datetime import datetime
from pathlib import Path
import pyarrow as pa
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.storage.compaction import compact
from pipeline.storage.data_directory import DataDirectory

data = DataDirectory(Path(sys.argv[1]))
with data.exclusive():
    compact(data, STATUS_RESPONSES, datetime.fromisoformat(sys.argv[2]))
print(pa.default_memory_pool().max_memory())
"""


def test_a_merge_holds_a_small_part_of_the_day_in_memory(workspace):
    at = int(PAST.timestamp() * 1_000_000)
    for _ in range(3):
        log = ResponseLog(workspace.data, STATUS_RESPONSES, PAST)
        for i in range(400):
            log.append(Response(f"s{i}", at, at, 200, None, os.urandom(100_000), "malformed", "x"))
            if log.is_full:
                log.write(log.take())
        log.close()
    size = sum(path.stat().st_size for path in (workspace.data.root / "raw").rglob("2026-03-01/*.parquet"))
    arguments = [sys.executable, "-c", COMPACT_AND_TELL_MEMORY, workspace.data.root, NOW.isoformat()]
    peak = int(subprocess.run(arguments, check=True, capture_output=True, timeout=60).stdout)
    assert size > 100_000_000
    assert peak < size / 2


def test_a_journal_that_is_sealed_once_more_after_the_merge_doubles_nothing(workspace):
    log = ResponseLog(workspace.data, STATUS_RESPONSES, PAST)
    at = int(PAST.timestamp() * 1_000_000)
    log.append(Response("s0", at, at, 200, None, PENDING.body, "pending", None))
    log.write(log.take())
    (journal,) = workspace.data.journal(STATUS_RESPONSES).glob("*.journal")
    content = journal.read_bytes()
    log.close()
    before = raw_rows(workspace.data)
    for _ in range(3):
        compact_at(workspace.data)
        let_an_hour_pass(workspace.data)
        journal.write_bytes(content)
        with workspace.data.exclusive():
            raw_log.recover(workspace.data, STATUS_RESPONSES)
        assert raw_rows(workspace.data) == before
    answer(workspace, PAST)
    let_an_hour_pass(workspace.data)
    compact_at(workspace.data)
    let_an_hour_pass(workspace.data)
    compact_at(workspace.data)
    let_an_hour_pass(workspace.data)
    compact_at(workspace.data)
    assert len(objects(workspace.data, "2026-03-01")) == 1
    before = raw_rows(workspace.data)
    journal.write_bytes(content)
    with workspace.data.exclusive():
        raw_log.recover(workspace.data, STATUS_RESPONSES)
    assert raw_rows(workspace.data) == before


def test_originals_are_kept_when_the_merged_object_does_not_hold_their_rows(workspace):
    before = raw_rows(workspace.data)
    compact_at(workspace.data)
    folder = workspace.data.root / "raw" / "status_responses" / "2026-03-01"
    (merged,) = folder.glob("merged-*")
    content = merged.read_bytes()
    with workspace.data.store.writer(
        STATUS_RESPONSES, "2026-03-01", merged.stem, workspace.data.store.names_replaced(str(merged))
    ) as writer:
        writer.write(next(workspace.data.store.read(str(folder / sorted(objects(workspace.data, "2026-03-01"))[0][1]))))
    with pytest.raises(StoreError, match=r"merged-\w+\.parquet does not contain the rows .* kept: delete it"):
        let_an_hour_pass(workspace.data)
        compact_at(workspace.data)
    assert len(objects(workspace.data, "2026-03-01")) == RUNS + 1
    merged.unlink()
    assert raw_rows(workspace.data)[: RUNS * (2 * ROWS_A_RUN + 2)] == before[: RUNS * (2 * ROWS_A_RUN + 2)]
    let_an_hour_pass(workspace.data)
    compact_at(workspace.data)
    assert merged.read_bytes() == content


def test_a_damaged_object_stops_the_merge_by_name_and_everything_stays(workspace):
    ((day, name), *_) = sorted(objects(workspace.data))
    path = workspace.data.root / "raw" / "status_responses" / day / name
    path.write_bytes(path.read_bytes()[:-100])
    before = objects(workspace.data)
    with pytest.raises(DamagedFileError, match=f"{name} cannot be read: .*restore it from a backup"):
        compact_at(workspace.data)
    assert objects(workspace.data) == before


def test_a_damaged_merged_object_is_told_by_name(workspace):
    compact_at(workspace.data)
    (path, *_) = sorted((workspace.data.root / "raw").rglob("merged-*.parquet"))
    path.write_bytes(b"")
    with pytest.raises(DamagedFileError, match=f"{path.name} cannot be read: .*restore it from a backup"):
        Workspace.open().data.store.parts(STATUS_RESPONSES)
