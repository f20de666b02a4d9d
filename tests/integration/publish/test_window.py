"""The window of the published file: its days, its references and its cost, and the views of all days."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from pipeline.publish.warehouse import Published, publish
from pipeline.quality.published_file import disagreements
from pipeline.report.page import write_report
from pipeline.schema import PUBLISHED
from pipeline.schema.publication import PUBLICATION
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.schema.staging import ITEM_ATTRIBUTES, PULLS, PURCHASES
from pipeline.schema.table import Partition
from pipeline.sources.inbox import Inbox
from pipeline.sources.intake import take_in
from pipeline.sources.kinds import SESSIONS
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.raw_log import Response, ResponseLog
from pipeline.storage.window import Window
from pipeline.transform.builder import Builder
from tests.support.answers import fulfilled

DAYS = 8
ITEMS = [
    {
        "id": f"i{number}",
        "type": "vault",
        "buyback_price": 2.5 * number,
        "content": {"metadata": {"attributes": [{"trait_type": "Year", "value": "1999"}]}},
    }
    for number in range(30)
]


def noon(day: int) -> datetime:
    return datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(days=day)


def dates(*days: int) -> list[tuple[date]]:
    return [(noon(day).date(),) for day in days]


def live(data: DataDirectory, day: int) -> None:
    """A day: four sessions, of which three are answered at once and one on the next day.

    One session of the first day is answered on the seventh, and one of the second day is never answered.
    """
    ids = [f"{name}{day}" for name in "abc"]
    submitted = [*ids, f"late{day}", *{0: ["old"], 1: ["open"]}.get(day, [])]
    rows = "".join(f"{session},p,10\n" for session in submitted)
    (data.inbox / f"{day}.csv").write_text(f"session_id,pack_id,price_usd\n{rows}")
    with data.exclusive():
        take_in(data, lambda: noon(day), Inbox(data, SESSIONS))
    at = int(noon(day).timestamp() * 1_000_000)
    log = ResponseLog(data, STATUS_RESPONSES, noon(day))
    for session in [*ids, *([f"late{day - 1}"] if day else []), *(["old"] if day == 6 else [])]:
        body = fulfilled(session, *ITEMS).body
        log.append(Response(session, at, at + 5, 200, "application/json", body, "fulfilled", None))
    log.close()


def build(data: DataDirectory, day: int, publish_days: int) -> Published:
    with data.exclusive(), Builder(data, noon(day), 0) as builder:
        builder.build_published()
        builder.save()
        return publish(data, Window.until(noon(day), publish_days))


@pytest.fixture(scope="module")
def history(tmp_path_factory) -> Path:
    data = DataDirectory(tmp_path_factory.mktemp("history") / "data")
    data.claim("local", "none")
    for day in range(DAYS):
        live(data, day)
    build(data, DAYS - 1, 3)
    return data.root


@pytest.fixture
def data(history, tmp_path) -> DataDirectory:
    return DataDirectory(shutil.copytree(history, tmp_path / "data"))


def read(path: Path, sql: str) -> list[tuple]:
    with duckdb.connect(path, read_only=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(sql).fetchall()


def contents(path: Path) -> dict[str, list[tuple]]:
    found = {table.name: read(path, f"FROM {table.name}") for table in PUBLISHED}
    return found | {PUBLICATION.name: read(path, f"SELECT * EXCLUDE published_at FROM {PUBLICATION.name}")}


def lake(data: DataDirectory) -> dict[str, list[tuple]]:
    with connect(data) as connection:
        return {table.name: connection.execute(f"FROM {data.store.scan(table)}").fetchall() for table in PUBLISHED}


def from_nothing(data: DataDirectory, day: int, publish_days: int, folder: Path) -> dict[str, list[tuple]]:
    fresh = DataDirectory(shutil.copytree(data.root, folder))
    fresh.warehouse.unlink(missing_ok=True)
    assert build(fresh, day, publish_days).kept_row_count == 0
    found = contents(fresh.warehouse)
    shutil.rmtree(folder)
    return found


def spoil(path: str) -> None:
    """Makes an object unreadable that keeps its size and time, and so its etag."""
    found = Path(path).stat()
    Path(path).write_bytes(b"\0" * found.st_size)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def test_a_table_that_is_cut_by_day_has_the_days_of_the_window_and_every_other_one_is_whole(data):
    published, whole = contents(data.warehouse), lake(data)
    for name in ("pulls", "item_attributes"):
        days = f"SELECT DISTINCT p.resolved_date FROM pulls p SEMI JOIN {name} USING (session_id) ORDER BY ALL"
        assert read(data.warehouse, days) == dates(5, 6, 7)
    for table in PUBLISHED:
        if table.partition is Partition.NONE:
            assert published[table.name] == whole[table.name]
    assert published["publication"] == [(3, *dates(5)[0], *dates(7)[0])]
    assert len(published["item_types"]) == 1 and len(published["items"]) == len(ITEMS)


def test_an_earlier_day_of_submission_is_there_whole_if_a_session_of_it_is_pending_or_was_resolved_in_the_window(data):
    # late4 and old were resolved in the window, open is pending.
    assert read(data.warehouse, "SELECT DISTINCT submitted_date FROM purchases ORDER BY ALL") == dates(0, 1, 4, 5, 6, 7)
    expected = [row for row in lake(data)["purchases"] if (row[5],) in dates(0, 1, 4, 5, 6, 7)]
    assert contents(data.warehouse)["purchases"] == expected
    assert read(data.warehouse, "SELECT session_id FROM purchases WHERE status = 'pending'") == [("open",), ("late7",)]


def test_every_pull_has_its_purchase_and_every_attribute_its_pull_in_the_file(data):
    assert read(data.warehouse, "SELECT count(*) FROM pulls ANTI JOIN purchases USING (session_id)") == [(0,)]
    joined = "item_attributes ANTI JOIN pulls USING (session_id, pull_number)"
    assert read(data.warehouse, f"SELECT count(*) FROM {joined}") == [(0,)]
    assert disagreements(data).offender_count == 0


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("DELETE FROM purchases WHERE session_id = 'old'", "pulls: 30 rows refer to no row of purchases in the file"),
        ("DELETE FROM pulls WHERE session_id = 'a7'", "item_attributes: 30 rows refer to no row of pulls in the file"),
        ("DELETE FROM pulls WHERE session_id = 'a7'", "pulls: the lake has"),
        ("UPDATE publication SET publish_days = 4", "pulls: the lake has"),
    ],
)
def test_the_check_of_the_file_follows_its_window(data, fault, said):
    with duckdb.connect(data.warehouse) as connection:
        connection.execute(fault)
    assert any(said in found for found in disagreements(data).examples)


def test_a_file_of_an_earlier_version_counts_as_one_without_a_window(data):
    build(data, 7, 0)
    with duckdb.connect(data.warehouse) as connection:
        connection.execute("DROP TABLE publication")
    assert disagreements(data).offender_count == 0
    write_report(data, "local", noon(7))


def test_a_window_that_moves_by_a_day_keeps_the_days_that_stay(tmp_path):
    data = DataDirectory(tmp_path / "data")
    data.claim("local", "none")
    for day in range(DAYS):
        live(data, day)
        published = build(data, day, 4)
        if day >= 4:
            assert contents(data.warehouse) == from_nothing(data, day, 4, tmp_path / "fresh")
            assert disagreements(data).offender_count == 0
            pulls_that_stay = read(data.warehouse, f"SELECT count(*) FROM pulls WHERE resolved_date < '{noon(day):%F}'")
            assert published.kept_row_count >= pulls_that_stay[0][0] > 0


@pytest.mark.parametrize("publish_days", [0, 1, 2, 6, 30])
def test_a_window_of_another_length_is_that_of_a_file_built_from_nothing(data, publish_days, tmp_path):
    assert not build(data, 7, publish_days).is_unchanged
    assert contents(data.warehouse) == from_nothing(data, 7, publish_days, tmp_path / "fresh")
    assert build(data, 7, publish_days).is_unchanged
    first = noon(8 - publish_days).date() if publish_days else None
    assert read(data.warehouse, "SELECT publish_days, first_day FROM publication") == [(publish_days, first)]


def test_without_a_window_the_file_is_the_whole_lake_and_a_day_without_data_leaves_it_as_it_is(data):
    build(data, 7, 0)
    assert {**lake(data), "publication": [(0, None, None)]} == contents(data.warehouse)
    assert build(data, 8, 0).is_unchanged


def test_a_window_without_pulls_is_empty_and_names_its_days(data):
    build(data, 20, 3)
    assert read(data.warehouse, "SELECT count(*) FROM pulls") == [(0,)]
    assert read(data.warehouse, "SELECT first_day, last_day FROM publication") == [dates(18)[0] + dates(20)[0]]
    assert read(data.warehouse, "SELECT DISTINCT submitted_date FROM purchases ORDER BY ALL") == dates(1, 7)
    assert build(data, 20, 3).is_unchanged
    assert disagreements(data).offender_count == 0
    assert "Wed 18 Mar" not in write_report(data, "local", noon(20)).read_text()
    assert "Thu 19 Mar 2026 to Sat 21 Mar 2026" in data.report.read_text()


def test_the_parts_outside_the_window_are_neither_opened_nor_copied(data):
    """Every one of them is unreadable, and the file is built from nothing, checked and made into the report."""
    expected = contents(data.warehouse)
    for table, days in ((PULLS, range(5)), (ITEM_ATTRIBUTES, range(5)), (PURCHASES, (2, 3))):
        for day in days:
            spoil(data.store.part(table, f"{noon(day):%F}")[0])
    data.warehouse.unlink()
    with data.exclusive():
        assert publish(data, Window.until(noon(7), 3)).kept_row_count == 0
    assert contents(data.warehouse) == expected
    assert disagreements(data).offender_count == 0


def test_the_report_names_the_window_and_its_figures_are_those_of_its_days(data):
    page = write_report(data, "local", noon(7)).read_text()
    assert "Purchases and pulls are those of Fri 6 Mar 2026 to Sun 8 Mar 2026, with every pending session." in page
    assert "2 sessions are pending" in page
    # The window has four purchases a day, and the pending one of the second day counts as well.
    assert "Since Mon 2 Mar 2026: 13 purchases, " in page
    assert " 390 pulls, " in page
    build(data, 7, 0)
    assert "Purchases and pulls are those of" not in write_report(data, "local", noon(7)).read_text()


@pytest.mark.parametrize("name", ["plain", "it's", "a?b", "a[b]c", "pack_id=live"])
def test_the_views_have_every_day_in_the_order_of_the_lake_wherever_it_is(history, tmp_path, name, monkeypatch):
    data = DataDirectory(shutil.copytree(history, tmp_path / name))
    build(data, 7, 3)
    monkeypatch.chdir("/")
    assert {table.name: read(data.lake_views, f"FROM {table.name}") for table in PUBLISHED} == lake(data)
    assert list(data.root.glob(".lake*")) == []


def test_the_views_have_the_declared_columns_and_comments(data):
    columns = "SELECT column_name, data_type, comment FROM duckdb_columns()"
    for table in PUBLISHED:
        assert read(data.lake_views, f"{columns} WHERE table_name = '{table.name}' ORDER BY column_index") == [
            (c.name, c.type, c.meaning) for c in table.columns
        ]
        comment = f"SELECT comment FROM duckdb_views() WHERE view_name = '{table.name}'"
        assert read(data.lake_views, comment) == [(table.grain,)]


def test_the_views_show_new_objects_at_once_and_are_made_again_only_for_another_place(data, tmp_path):
    build(data, 7, 3)
    made = data.lake_views.stat()
    live(data, 8)
    build(data, 8, 3)
    assert data.lake_views.stat() == made
    assert read(data.lake_views, "SELECT count(DISTINCT resolved_date) FROM pulls") == [(9,)]
    moved = DataDirectory(Path(shutil.move(data.root, tmp_path / "moved")))
    build(moved, 8, 3)
    assert read(moved.lake_views, "SELECT count(DISTINCT resolved_date) FROM pulls") == [(9,)]
    moved.lake_views.write_bytes(b"broken")
    build(moved, 8, 3)
    assert read(moved.lake_views, "SELECT count(DISTINCT resolved_date) FROM pulls") == [(9,)]


def test_the_views_of_a_lake_in_an_object_store_name_its_urls_and_need_no_network_to_be_made(data, monkeypatch):
    monkeypatch.setattr(data, "lake_url", "s3://partner/it's/production")
    build(data, 7, 3)
    ((sql,),) = read(data.lake_views, "SELECT sql FROM duckdb_views() WHERE view_name = 'pulls'")
    assert "read_parquet('s3://partner/it''s/production/lake/pulls/*.parquet'" in sql
