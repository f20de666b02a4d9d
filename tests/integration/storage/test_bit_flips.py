"""Flipped bits in every kind of stored file: each is without effect, healed, or named; none is silent, none a crash."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import PipelineError
from pipeline.publish import PublishError
from pipeline.publish.record import Record
from pipeline.publish.warehouse import publish
from pipeline.quality.findings import Finding, FindingRecord
from pipeline.quality.published_file import disagreements
from pipeline.report.edition import is_current
from pipeline.report.page import write_report
from pipeline.schema import PUBLISHED
from pipeline.schema.raw import SESSION_SUBMISSIONS, STATUS_RESPONSES
from pipeline.schema.staging import PURCHASES
from pipeline.sources.inbox import Inbox
from pipeline.sources.intake import take_in
from pipeline.sources.kinds import SELLBACKS, SESSIONS
from pipeline.storage import raw_log
from pipeline.storage.compaction import compact
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.errors import DamagedFileError, DataDirectoryError
from pipeline.storage.manifest import Manifest
from pipeline.storage.raw_log import ResponseLog
from pipeline.storage.window import Window
from pipeline.transform.builder import Builder
from tests.support.bit_flips import LATER, MOMENT, SEED, answers, filled, flips, overwrite, raw

pytestmark = pytest.mark.one_python

WRONG_SHAPES = [
    *("[]", "null", "5", '"x"', "{}", '{"a": 5}', '{"a": {"b": 5}}', '{"a": ["b"]}', '{"a": {"b": ["c"]}}'),
    *('{"crc32": 0, "content": {}}', '{"file": 5, "tables": []}', '{"file": [1, 2], "tables": {"pulls": 5}}'),
]


def build(data: DataDirectory, now: datetime = MOMENT) -> None:
    with data.exclusive(), Builder(data, now, 0) as builder:
        builder.build_published()
        publish(data)


def tables(data: DataDirectory) -> dict[str, list[tuple]]:
    with connect(data) as connection:
        return {t.name: connection.execute(f"FROM {data.store.scan(t)}").fetchall() for t in PUBLISHED}


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """A history in tables, of two objects that were merged into one, and published."""
    folder = tmp_path_factory.mktemp("history")
    data = filled(folder / "data")
    with data.exclusive():
        raw_log.recover(data, STATUS_RESPONSES)
        log = ResponseLog(data, STATUS_RESPONSES, MOMENT)
        log.append(answers(1, 39)[0])
        log.close()
        compact(data, STATUS_RESPONSES, MOMENT + timedelta(days=2))
    build(data, LATER)
    return data.root.rename(folder / "kept")


@pytest.fixture
def history(kept) -> DataDirectory:
    """A copy of it, at its place and with the times of its files, by which the pipeline knows them."""
    root = kept.with_name("data")
    if root.exists():
        shutil.rmtree(root)
    return DataDirectory(shutil.copytree(kept, root))


def test_a_flipped_bit_in_a_raw_object_is_named_before_anything_is_derived_from_it(history, record_property):
    rng = random.Random(SEED)
    outcomes: Counter[str] = Counter()
    rows = raw(history)
    for table in (SESSION_SUBMISSIONS, STATUS_RESPONSES):
        ((path,),) = (map(Path, paths) for paths in history.store.parts(table).values())
        content = path.read_bytes()
        for flipped in flips(content, rng, 25):
            overwrite(path, flipped)
            try:
                history.store.verify([str(path)])
            except DamagedFileError as error:
                assert str(path) in str(error)
                outcomes["named"] += 1
            else:
                assert raw(history) == rows
                outcomes["without effect"] += 1
        for flipped in flips(content, rng, 2):
            overwrite(path, flipped)
            with (
                pytest.raises(DamagedFileError, match="restore it from a backup"),
                history.exclusive(),
                Builder(history, LATER, 0) as builder,
            ):
                builder.forget_all()
                builder.build_published()
        overwrite(path, content)
    assert outcomes["named"] > 10 * outcomes["without effect"]
    record_property(f"flips in raw objects, seed {SEED}", dict(outcomes))


def test_a_flipped_bit_in_the_list_of_replaced_objects_never_makes_rows_count_twice(history, record_property):
    rng = random.Random(SEED)
    outcomes: Counter[str] = Counter()
    (merged,) = (history.root / "raw").rglob("merged-*.parquet")
    content, rows = merged.read_bytes(), raw(history)
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    note = content.index(b"replaces", footer)
    for begin in [footer] * 30 + [note] * 30:
        at = rng.randrange(begin, min(len(content), begin + 400))
        overwrite(merged, content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :])
        data = DataDirectory(history.root)
        try:
            listed = data.store.parts(STATUS_RESPONSES)
        except PipelineError as error:
            assert str(merged) in str(error)
            outcomes["named"] += 1
            continue
        assert listed == {"2026-03-01": [str(merged)]}
        outcomes["without effect on the list"] += 1
    overwrite(merged, content)
    assert raw(history) == rows
    assert outcomes["named"] >= 30
    record_property(f"flips in the list of replaced objects, seed {SEED}", dict(outcomes))


def test_a_flipped_bit_in_a_derived_object_is_healed_on_the_next_day(history, record_property):
    rng = random.Random(SEED)
    outcomes: Counter[str] = Counter()
    expected = tables(history)
    paths = [path for zone in ("staging", "lake") for path in sorted((history.root / zone).rglob("*.parquet"))]
    for path in paths:
        overwrite(path, next(flips(path.read_bytes(), rng, 1)))
        outcomes["healed"] += 1
    build(history, MOMENT + timedelta(days=2))
    assert tables(history) == expected
    assert disagreements(history).offender_count == 0
    record_property(f"flips in derived objects, seed {SEED}", dict(outcomes))


def test_a_flipped_bit_in_what_a_table_is_derived_from_on_the_same_day_is_named_and_then_healed(history):
    (path,) = (history.root / "lake" / "pulls").iterdir()
    overwrite(path, path.read_bytes().replace(b"Glimmerwing", b"Glimmerwinh"))
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    overwrite(path, bytes(content))
    with history.exclusive():
        log = ResponseLog(history, STATUS_RESPONSES, MOMENT)
        for response in answers(2, 36):
            log.append(response._replace(received_at=response.received_at + 86_400_000_000))
        log.close()
    with pytest.raises((DamagedFileError, PublishError), match="pulls"):
        build(history, LATER)
    build(history, LATER)
    with history.exclusive(), Builder(history, LATER, 0) as builder:
        found = tables(history)
        builder.forget_all()
        builder.build_published()
    assert tables(history) == found
    assert len(found["pulls"]) == 35


def test_a_flipped_bit_in_the_published_file_is_not_copied_on(history, record_property):
    rng = random.Random(SEED)
    outcomes: Counter[str] = Counter()
    for number in range(2):
        content = history.warehouse.read_bytes()
        at = rng.randrange(len(content))
        overwrite(history.warehouse, content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :])
        with history.exclusive():
            assert publish(history).is_unchanged  # a run with nothing new reads nothing of it
            (history.inbox / f"{number}.txt").write_text(f"new-{number}\n")
            take_in(history, lambda: LATER, Inbox(history, SESSIONS))
        build(history, LATER)
        assert disagreements(history).offender_count == 0
        with connect(history) as connection:
            connection.execute(f"ATTACH '{history.warehouse}' AS published (READ_ONLY)")
            for name, rows in tables(history).items():
                assert connection.execute(f"FROM published.{name}").fetchall() == rows
        outcomes["healed by the next publication"] += 1
    record_property(f"flips in the published file, seed {SEED}", dict(outcomes))


def spoilt(path: Path, rng: random.Random) -> Iterator[bytes]:
    """The file with flipped bits, and JSON of wrong shapes."""
    content = path.read_bytes()
    yield from flips(content, rng, 12)
    yield from (shape.encode() for shape in WRONG_SHAPES)
    yield b"\xff\xfe" + content


def test_what_is_lost_of_manifest_or_record_is_built_and_published_anew(history):
    expected = tables(history)
    staging = history.root / "staging"
    for pattern in ("manifest.json", "manifest/*.json", "published.json"):
        path = next(staging.glob(pattern))
        overwrite(path, next(flips(path.read_bytes(), random.Random(SEED), 1)))
        build(history, LATER)
        assert tables(history) == expected
        with history.exclusive():
            counts = publish(history).row_counts
        assert counts == {name: len(rows) for name, rows in expected.items()}
    for name in ("manifest.json", "published.json"):
        assert json.loads((staging / name).read_text()).keys() == {"crc32", "content"}


def test_a_record_that_is_damaged_or_of_another_shape_counts_as_lost(history, record_property):
    record = FindingRecord()
    record.note("purchases.a_check", "inputs", Finding(3, ["a", "b"], computed_at=MOMENT))
    record.save(history.records)
    reads: dict[Path, Callable[[], object]] = {
        history.root / "staging" / "findings.json": lambda: FindingRecord.of(history.records).finding(
            "purchases.a_check", "inputs"
        ),
        history.root / "staging" / "inbox_index.json": lambda: Inbox(history, SESSIONS).new_files() == [] or None,
        history.root / "staging" / "manifest.json": lambda: Manifest(history.records).versions(PURCHASES) or None,
        next(history.root.glob("staging/manifest/*.json")): lambda: (
            Manifest(history.records).versions(PURCHASES) or None
        ),
        history.root / "staging" / "published.json": lambda: Record(history).all_parts(PUBLISHED, Window()),
    }
    outcomes: Counter[str] = Counter()
    for path, read in reads.items():
        known, content = read(), path.read_bytes()
        assert known
        for damaged in spoilt(path, random.Random(SEED)):
            overwrite(path, damaged)
            found = read()
            assert found in (known, None)
            outcomes["without effect" if found == known else "lost, to be found out anew"] += 1
        overwrite(path, content)
    with history.exclusive():
        assert (
            take_in(history, lambda: LATER, Inbox(history, SESSIONS)).files == []
        )  # known by its content all the same
    record_property(f"records, seed {SEED}", dict(outcomes))


def test_what_binds_a_directory_to_its_environment_is_named_where_it_is_damaged(history, record_property):
    path = history.root / "environment.json"
    outcomes: Counter[str] = Counter()
    for content in spoilt(path, random.Random(SEED)):
        path.write_bytes(content)
        try:
            DataDirectory(history.root).claim("local", "none")
        except DataDirectoryError as error:
            assert str(history.root) in str(error)
            outcomes["named"] += 1
        else:
            assert json.loads(content) == {"environment": "local", "api_url": "none"}
            outcomes["without effect"] += 1
    record_property(f"environment.json, seed {SEED}", dict(outcomes))


def test_a_flipped_bit_in_the_report_makes_it_be_drawn_anew(history, record_property):
    write_report(history, "local", MOMENT)
    assert is_current(history, "local", MOMENT)
    outcomes: Counter[str] = Counter()
    for flipped in flips(history.report.read_bytes(), random.Random(SEED), 200):
        history.report.write_bytes(flipped)
        assert not is_current(history, "local", MOMENT)
        outcomes["drawn anew"] += 1
    record_property(f"flips in the report, seed {SEED}", dict(outcomes))


def test_objects_without_a_checksum_are_read_and_their_answers_held_against_their_digests(history):
    """As earlier versions wrote them."""
    (path,) = (history.root / "raw").rglob("merged-*.parquet")
    rows = list(history.store.read(str(path)))
    pq.write_table(pa.Table.from_batches(rows), path, compression="none")
    history.store.verify([str(path)])
    path.write_bytes(path.read_bytes().replace(b"Glimmerwing", b"Glimmerwinh"))
    with pytest.raises(DamagedFileError, match="an answer in it does not match its SHA-256"):
        history.store.verify([str(path)])


def test_a_clock_that_was_a_month_ahead_is_a_finding_and_moves_nothing_beyond_now(tmp_path):
    data = filled(tmp_path / "data")
    with data.exclusive():
        raw_log.recover(data, STATUS_RESPONSES)
    ahead = MOMENT + timedelta(days=30)
    log = ResponseLog(data, STATUS_RESPONSES, ahead)
    at = int(ahead.timestamp() * 1_000_000)
    for response in answers(2, 37):
        log.append(response._replace(requested_at=at, received_at=at))
    log.close()
    (data.inbox / "ahead.txt").write_text("ahead\n")
    data.sellbacks.mkdir()
    (data.sellbacks / "ahead.csv").write_text(f"item_id,sold_at\nan-item,{MOMENT.isoformat()}\n")
    with data.exclusive():
        take_in(data, lambda: ahead, Inbox(data, SESSIONS))
        take_in(data, lambda: ahead, Inbox(data, SELLBACKS))
    build(data, ahead)  # as that machine did
    for now in (LATER, LATER + timedelta(days=40)):
        build(data, now)
        found = tables(data)
        as_of = {row[2] for row in found["pending_ageing"]} | {row[1] for row in found["buyback_outstanding"]}
        issues = sorted((row[2], row[6]) for row in found["data_issues"] if row[0] == "time_in_future")
        if now is LATER:
            (latest,) = as_of
            assert MOMENT <= latest <= now
            of_purchases = [("purchases", f"{time}_at") for time in ("last_polled", "resolved", "submitted")]
            assert issues == [*of_purchases, ("sellbacks", "submitted_at")]
            assert sum(row[3] for row in found["pending_ageing"]) == sum(
                row[1] == "pending" for row in found["purchases"]
            )
        else:
            assert as_of == {ahead}
            assert issues == []
