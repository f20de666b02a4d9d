"""Disks that are full, read-only or damaged: one line that names the file and the way out, and nothing lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import uuid
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.clock import now
from pipeline.errors import PipelineError
from pipeline.publish import PublishError
from pipeline.schema import TABLES
from pipeline.schema.raw import PENDING_SESSIONS, SESSION_SUBMISSIONS, STATUS_RESPONSES
from pipeline.schema.table import Table, Zone
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from pipeline.storage.compaction import compact
from pipeline.storage.connection import connect
from pipeline.storage.errors import DamagedFileError, StoreError
from pipeline.storage.raw_log import Response, ResponseLog
from tests.support.command_line import assert_one_line_error, phygitals, phygitals_here
from tests.support.lake import lake_hashes
from tests.support.workspace import build_all, drop, refresh, rows

PAST = datetime(2026, 3, 1, 12, tzinfo=UTC)
SMALL_DISK = 48 * 1024 * 1024


@pytest.fixture
def disk(workspace, tmp_path):
    """A file system of its own for the data directory, which can be filled and made read-only."""
    folder = workspace.data.root
    aside = folder.rename(tmp_path / "aside")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "none", str(folder)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a file system takes more rights than these")
    try:
        shutil.copytree(aside, folder, dirs_exist_ok=True)
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


class Disk:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def full(self, but_for: int = 0):
        """Leaves no room, or so many bytes."""
        filler = self._folder / "filler"
        with filler.open("wb") as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(1024 * 1024))
        with filler.open("rb+") as file:
            file.truncate(filler.stat().st_size - but_for)
        try:
            yield
        finally:
            filler.unlink()

    @contextlib.contextmanager
    def read_only(self):
        subprocess.run(["mount", "-o", "remount,ro", str(self._folder)], check=True)
        try:
            yield
        finally:
            subprocess.run(["mount", "-o", "remount,rw", str(self._folder)], check=True)


@pytest.fixture
def workspace(copy_of):
    """A data directory after one refresh."""

    def build(workspace: Workspace) -> None:
        drop(workspace, "a.csv", "session_id,pack_id,price_usd\n" + "".join(f"s{i},p,10\n" for i in range(30)))
        refresh(workspace)

    return copy_of("refreshed", lambda: Simulator(delay_scale=0, hold=0), build)


@contextlib.contextmanager
def one_line(error_type: type[PipelineError], *words: str):
    """What is raised within is of that type, and says it in one line, with one remedy."""
    with pytest.raises(error_type) as failure:
        yield
    assert "\n" not in str(failure.value)
    assert str(failure.value).count("run again") <= 1
    for word in words:
        assert word in str(failure.value)


def contents(workspace: Workspace, *zones: str) -> dict[Path, bytes]:
    found = (path for zone in zones for path in (workspace.data.root / zone).rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in found}


def answers(log: ResponseLog, count: int, size: int = 100) -> None:
    at = int(PAST.timestamp() * 1_000_000)
    for i in range(count):
        log.append(Response(f"r{i}", at + i, at + i, 200, None, os.urandom(size), "malformed", "x"))


def count_raw(workspace: Workspace) -> int:
    with connect(workspace.data) as connection:
        scan = workspace.data.store.scan(STATUS_RESPONSES)
        ((count,),) = connection.execute(f"SELECT count(*) FROM {scan}").fetchall()
        return int(count)


def test_a_disk_that_is_full_while_tables_are_built_leaves_them_as_they_were(disk, workspace):
    drop(workspace, "b.txt", "\n".join(f"b{i}" for i in range(30)))
    workspace.take_in()
    before = contents(workspace, "lake", "staging")
    with disk.full(), one_line(PipelineError, "could not be written", "No space left", "free some space"):
        build_all(workspace)
    assert contents(workspace, "lake", "staging") == before
    refresh(workspace)
    assert rows(workspace, "SELECT count(*) FROM purchases") == [(60,)]


def test_a_disk_that_fills_up_in_the_middle_of_a_table_leaves_it_as_it_was(disk, workspace):
    drop(workspace, "b.txt", "\n".join(str(uuid.uuid4()) for _ in range(20_000)))
    workspace.take_in()
    before = contents(workspace, "lake")
    with disk.full(but_for=64 * 1024), one_line(StoreError, "lake/purchases/", "could not be written"):
        build_all(workspace)
    assert contents(workspace, "lake") == before
    build_all(workspace)
    workspace.publish()
    assert rows(workspace, "SELECT count(*) FROM purchases") == [(20_030,)]


def test_a_disk_that_is_full_while_publishing_leaves_the_published_file(disk, workspace):
    before = workspace.data.warehouse.read_bytes()
    (workspace.data.root / "lake" / "items" / "items.parquet").touch()  # or nothing would be published anew
    for room in (0, 300_000):
        with disk.full(but_for=room), one_line(PublishError, "phygitals.duckdb could not be replaced", "No space left"):
            workspace.publish()
        assert workspace.data.warehouse.read_bytes() == before
        assert list(workspace.data.root.glob(".phygitals*")) == []
    assert workspace.publish().row_counts["purchases"] == 30


def test_a_disk_that_is_full_at_intake_leaves_the_file_to_the_next_run(disk, workspace):
    drop(workspace, "b.txt", "b\n")
    with disk.full(), one_line(StoreError, "raw/session_submissions/", "could not be written"):
        workspace.take_in()
    assert workspace.take_in().total("accepted") == 1


def test_a_disk_that_is_full_when_the_journal_is_sealed_keeps_the_journal_for_the_next_run(disk, workspace):
    known = count_raw(workspace)
    log = ResponseLog(workspace.data, STATUS_RESPONSES, PAST)
    answers(log, 500)
    log.write(log.take())
    with disk.full(), one_line(StoreError, "free some space"):
        log.close()
    with disk.full(), one_line(StoreError, "raw/status_responses/2026-03-01/", "could not be written"):
        workspace.take_in()
    assert count_raw(workspace) == known
    workspace.take_in()
    assert count_raw(workspace) == known + 500
    assert list(workspace.data.journal(STATUS_RESPONSES).iterdir()) == []


def test_a_journal_that_cannot_be_begun_is_refused_by_name(disk, workspace):
    with disk.full(), one_line(StoreError, ".journal", "their sessions stay pending"):
        log = ResponseLog(workspace.data, STATUS_RESPONSES, PAST)
        answers(log, 1)
        log.close()
    with disk.read_only(), one_line(StoreError, ".journal", "Read-only file system"):
        ResponseLog(workspace.data, STATUS_RESPONSES, PAST)


def test_what_was_synced_before_a_write_failed_is_kept_and_nothing_comes_after_the_torn_end(disk, workspace):
    known = count_raw(workspace)
    log = ResponseLog(workspace.data, STATUS_RESPONSES, PAST)
    answers(log, 50)
    log.write(log.take())
    with disk.full(but_for=100_000):
        answers(log, 50, size=10_000)
        with one_line(StoreError, ".journal", "free some space"):
            log.write(log.take())
    answers(log, 50)
    log.close()
    workspace.take_in()
    assert count_raw(workspace) == known + 50


def test_a_disk_that_is_full_while_a_query_puts_rows_aside_is_said_in_one_line(disk, workspace, monkeypatch):
    monkeypatch.setattr(workspace.data, "memory_limit", "60MB")
    large = (
        "SELECT i, md5(i::VARCHAR) AS a, repeat(md5((i + 1)::VARCHAR), 4) AS b FROM range(2_000_000) t(i) ORDER BY a"
    )
    for run in (
        lambda connection: connection.execute(f"CREATE TABLE large AS {large}"),
        lambda connection: list(connection.execute(large).to_arrow_reader()),
    ):
        with (
            one_line(StoreError, f"{workspace.data.root} has no room", "free some space"),
            connect(workspace.data) as connection,
        ):
            run(connection)
        assert list(workspace.data.scratch.iterdir()) == []


def test_a_disk_that_is_full_while_objects_are_merged_keeps_every_row(disk, workspace):
    for _ in range(3):
        log = ResponseLog(workspace.data, STATUS_RESPONSES, PAST)
        answers(log, 500)
        log.close()
    before, known = contents(workspace, "raw"), count_raw(workspace)
    with disk.full(), one_line(StoreError, "merged-", "could not be written"), workspace.data.exclusive():
        compact(workspace.data, STATUS_RESPONSES, now())
    assert contents(workspace, "raw") == before
    workspace.compact()
    assert len(workspace.data.store.parts(STATUS_RESPONSES)["2026-03-01"]) == 1
    assert count_raw(workspace) == known


def test_a_command_on_a_full_disk_ends_in_one_line(disk, workspace):
    drop(workspace, "b.txt", "b\n")
    with disk.full():
        assert_one_line_error(phygitals("refresh"), "raw/session_submissions", "No space left", "free some space")
        assert_one_line_error(phygitals_here("submit", "c"), "inbox", "No space left", "free some space")
        again = str(workspace.data.inbox / "a.csv")
        assert_one_line_error(phygitals_here("submit", again), "inbox", "No space left", "free some space")
    assert [path.name for path in sorted(workspace.data.inbox.iterdir())] == ["a.csv", "b.txt"]


def test_a_read_only_data_directory_can_be_read_and_not_be_written(disk, workspace, configure):
    before = contents(workspace, "raw", "staging", "lake")
    with disk.read_only():
        assert phygitals_here("query", "FROM item_types").returncode == 0
        assert phygitals_here("status").returncode == 0
        advice = "make it writable or set PHYGITALS_DATA_DIR to another one"
        assert_one_line_error(phygitals_here("refresh"), str(workspace.data.root), "Read-only file system", advice)
        configure(data_dir=workspace.data.root / "new")
        assert_one_line_error(phygitals_here("refresh"), str(workspace.data.root / "new"), "Read-only file system")
    assert contents(workspace, "raw", "staging", "lake") == before


BUILD_WITH_SMALL_FILES_ONLY = """
import resource
from pipeline.errors import PipelineError
from pipeline.schema import PUBLISHED
from pipeline.steps import Workspace
workspace = Workspace.open()
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    with workspace.builder() as builder:
        for table in PUBLISHED:
            builder.build(table)
except PipelineError as error:
    print(error)
"""


def test_a_file_that_the_system_does_not_let_grow_is_named_and_what_was_there_stays(workspace):
    drop(workspace, "b.txt", "\n".join(f"b{i}" for i in range(20_000)))
    workspace.take_in()
    before = lake_hashes(workspace)
    done = subprocess.run(
        [sys.executable, "-c", BUILD_WITH_SMALL_FILES_ONLY], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert "lake/purchases/" in line
    assert "could not be written" in line
    assert "File too large" in line
    assert lake_hashes(workspace) == before


def damage_footer(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def damage_metadata(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-60:-8] = bytes(range(200, 252))
    path.write_bytes(content)


def damage_rows(path: Path) -> None:
    """As a disk that loses bits does: without a trace in the time of the last change."""
    content, status = bytearray(path.read_bytes()), path.stat()
    footer = int.from_bytes(content[-8:-4], "little")
    content[4 : len(content) - 8 - footer] = b"\xff" * (len(content) - 12 - footer)
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("table", [SESSION_SUBMISSIONS, STATUS_RESPONSES], ids=lambda t: t.name)
def test_a_damaged_file_in_raw_is_named_with_its_remedy_and_nothing_is_touched(table, workspace):
    (path,) = (workspace.data.root / "raw" / table.name).rglob("*.parquet")
    whole = path.read_bytes()
    for damage in (damage_footer, damage_metadata, damage_rows):
        path.write_bytes(whole)
        damage(path)
        before = contents(workspace, "raw", "lake")
        published = workspace.data.warehouse.read_bytes()
        with one_line(DamagedFileError, f"{path} cannot be read", "restore it from a backup"):
            refresh(workspace)
        assert contents(workspace, "raw", "lake") == before
        assert workspace.data.warehouse.read_bytes() == published
    path.write_bytes(whole)
    refresh(workspace)


def test_a_command_that_meets_a_damaged_file_ends_in_one_line(workspace):
    (path,) = (workspace.data.root / "raw" / "status_responses").rglob("*.parquet")
    damage_rows(path)
    drop(workspace, "new.txt", "new\n")  # with nothing pending nobody looks at the answers
    assert_one_line_error(phygitals("refresh"), f"{path} cannot be read", "restore it from a backup")
    assert_one_line_error(phygitals_here("status"), f"{path} cannot be read", "restore it from a backup")


def steps_from_raw(table: Table) -> int:
    """No table is derived from another one that is as many steps away."""
    sources = () if table.zone is Zone.RAW else table.sources
    return 1 + max((steps_from_raw(TABLES[name]) for name in sources), default=-1)


def test_a_derived_file_that_does_not_open_is_built_again(workspace):
    before = lake_hashes(workspace)
    derived = [path for zone in ("staging", "lake") for path in (workspace.data.root / zone).rglob("*.parquet")]
    assert len(derived) == sum(table.zone is not Zone.RAW for table in TABLES.values())
    by_steps = defaultdict(list)
    for path in derived:
        by_steps[steps_from_raw(TABLES[path.parent.name])].append(path)
    for paths in by_steps.values():
        for number, path in enumerate(paths):
            (damage_footer if number % 2 else damage_metadata)(path)
        for _ in range(len(paths) + 1):
            try:
                with workspace.builder() as builder:
                    builder.build(PENDING_SESSIONS)
                    builder.build_published()
            except DamagedFileError:
                continue  # one that still opens is named where something is derived from it; the next run builds it
            break
        assert lake_hashes(workspace) == before
    for path in derived:
        path.write_bytes(b"")
    refresh(workspace)
    assert lake_hashes(workspace) == before


def test_a_derived_file_with_damaged_rows_is_named_and_built_again_when_it_is_deleted(workspace):
    before = lake_hashes(workspace)
    for folder in ("lake/purchases", "lake/item_types"):
        (path,) = (workspace.data.root / folder).glob("*.parquet")
        damage_rows(path)
        damaged = contents(workspace, "lake")
        # So that this publication reads every object.
        (workspace.data.root / "staging/published.json").unlink(missing_ok=True)
        with one_line(PublishError, f"{path} cannot be read", "delete it: the next run derives it again"):
            refresh(workspace)
        assert contents(workspace, "lake") == damaged
        path.unlink()
        refresh(workspace)
        assert lake_hashes(workspace) == before


def test_damage_in_what_a_table_is_built_from_is_named_before_the_table_is_touched(workspace):
    (path,) = (workspace.data.root / "staging" / "session_day_polls").glob("*.parquet")
    damage_rows(path)
    drop(workspace, "b.txt", "s0\n")
    before = lake_hashes(workspace)
    with one_line(DamagedFileError, f"{path} cannot be read", "delete it: the next run derives it again"):
        refresh(workspace)
    assert lake_hashes(workspace) == before
    path.unlink()
    refresh(workspace)
    assert rows(workspace, "SELECT count(*) FROM purchases") == [(30,)]


def test_a_damaged_published_file_is_named_and_published_anew(workspace):
    workspace.data.warehouse.write_bytes(b"not a database" * 1000)
    assert_one_line_error(phygitals_here("query", "FROM pulls"), "phygitals.duckdb cannot be opened", "delete it")
    refresh(workspace)
    assert rows(workspace, "SELECT count(*) FROM purchases") == [(30,)]
