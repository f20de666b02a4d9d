"""A purchase is in the part of its first submission, also if that arrives after a later one or leaves raw."""

import shutil
from datetime import timedelta

from pipeline.schema.staging import PULLS, PURCHASES
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.transform.builder import Builder
from tests.support.busy_day import AFTERWARDS, DAY, BusyDay


def directory(folder):
    data = DataDirectory(folder)
    data.claim("local", "none")
    return data


def rows(data):
    """The purchases and pulls of the raw data as they are now."""
    with data.exclusive(), Builder(data, AFTERWARDS + timedelta(days=2), 0) as builder:
        builder.build(PURCHASES)
        builder.build(PULLS)
    with connect(data) as connection:
        return [connection.execute(f"FROM {data.store.scan(table)}").fetchall() for table in (PURCHASES, PULLS)]


def rows_at_once(data, folder):
    other = directory(folder)
    shutil.copytree(data.root / "raw", other.root / "raw", dirs_exist_ok=True)
    return rows(other)


def test_a_session_that_is_submitted_again_with_an_earlier_time_moves_and_moves_back(tmp_path):
    data = directory(tmp_path / "data")
    life = BusyDay(data)
    life.add_run(DAY + timedelta(days=1), 8)
    rows(data)
    life.add_run(DAY, 8)  # submits two of these sessions, too
    purchases, pulls = rows(data)
    assert [purchases, pulls] == rows_at_once(data, tmp_path / "once")
    assert len({purchase[0] for purchase in purchases}) == len(purchases) == 16
    shutil.rmtree(data.root / "raw" / "session_submissions" / f"{DAY:%Y-%m-%d}")
    assert rows(data) == rows_at_once(data, tmp_path / "again")
