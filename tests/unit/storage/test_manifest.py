"""The manifest of a builder, and readers of it beside the builder."""

from datetime import date

import duckdb
import pytest

from pipeline.quality.checker import CHECKS
from pipeline.quality.lake_parts import LakeParts
from pipeline.schema.items import ITEMS
from pipeline.schema.staging import PULLS, PURCHASES
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.errors import ConflictError
from pipeline.storage.manifest import Manifest, Part
from pipeline.storage.manifest_months import MonthObjects, month_of
from pipeline.storage.window import Window

PART = Part("inputs", "version", 1, 2, "etag", 3)


def objects_by_month(data):
    """The name of the only object of each month."""
    found = sorted(path.name for path in data.root.glob("staging/manifest/*"))
    assert len({name[:7] for name in found}) == len(found)
    return {name[:7]: name for name in found}


def parts_of_checks(data):
    check = next(check for check in CHECKS if check.key == "purchases.every_resolution_is_an_answer")
    with duckdb.connect() as connection:
        LakeParts(data, ["status"]).inputs(check, connection)


def days_of_the_window(data):
    Window(1, date(2026, 3, 1)).etags(data, PURCHASES)


def test_a_save_writes_the_months_that_changed_and_removes_what_it_replaced(tmp_path):
    data = DataDirectory(tmp_path / "data")
    data.claim("local", "none")
    manifest = Manifest(data.records)
    for part in ("2026-02-28", "2026-03-01T0000-0015"):
        manifest.written(PULLS, part, PART)
    manifest.written(ITEMS, "items", PART)
    manifest.save()
    saved = objects_by_month(data)
    assert saved.keys() == {"2026-02", "2026-03"}
    manifest.take_in(PULLS, {"2026-02-28": "1", "2026-03-01T0000-0015": "1"})
    manifest.save()
    manifest.take_in(PULLS, {"2026-02-28": "1", "2026-03-01T0000-0015": "2"})
    manifest.verified(PULLS, "2026-03-02")
    manifest.save()
    now = objects_by_month(data)
    assert now["2026-03"] != saved["2026-03"]
    found = Manifest(data.records)
    assert found.state(PULLS) == manifest.state(PULLS)
    assert found.state(ITEMS) == manifest.state(ITEMS)
    before = objects_by_month(data)
    found.forget(PULLS, "2026-03-01T0000-0015")
    found.take_in(PULLS, {"2026-02-28": "1"})
    found.save()
    assert objects_by_month(data) == {"2026-02": before["2026-02"]}


def test_a_save_of_many_months_goes_through_the_history_once(tmp_path, monkeypatch):
    data = DataDirectory(tmp_path / "data")
    data.claim("local", "none")
    days = [f"20{year}-{month:02}-07" for year in (24, 25) for month in range(1, 13)]
    manifest = Manifest(data.records)
    for table in (PURCHASES, PULLS):
        for day in days:
            manifest.written(table, day, PART)
    seen = []

    def month_of_seen(name):
        seen.append(name)
        return month_of(name)

    monkeypatch.setattr("pipeline.storage.manifest.month_of", month_of_seen)
    manifest.save()
    assert sorted(seen) == sorted(2 * days)
    assert Manifest(data.records).state(PULLS) == manifest.state(PULLS)


def test_a_manifest_without_one_of_its_months_counts_as_lost(tmp_path):
    data = DataDirectory(tmp_path / "data")
    data.claim("local", "none")
    manifest = Manifest(data.records)
    for part in ("2026-02-28", "2026-03-01"):
        manifest.written(PULLS, part, PART)
    manifest.save()
    next(data.root.glob("staging/manifest/2026-02*")).unlink()
    assert Manifest(data.records).versions(PULLS) == {}


def test_a_manifest_with_a_month_of_another_shape_counts_as_lost(tmp_path):
    data = DataDirectory(tmp_path / "data")
    data.claim("local", "none")
    name = MonthObjects(data.storage).write("2026-03", b'{"pulls": {"a field of a later version": {}}}')
    data.records.save("manifest", {"tables": {}, "months": {"2026-03": name}})
    assert Manifest(data.records).versions(PULLS) == {}


def test_a_reader_that_is_overtaken_by_a_save_reads_the_saved_manifest(tmp_path, monkeypatch):
    data = DataDirectory(tmp_path / "data")
    data.claim("local", "none")
    builders, read = Manifest(data.records), MonthObjects.read
    builders.written(PULLS, "2026-03-01", PART)
    builders.save()
    builders.written(PULLS, "2026-03-02", PART)

    def read_too_late(objects, digests):
        builders.save()
        return read(objects, digests)

    monkeypatch.setattr(MonthObjects, "read", read_too_late)
    assert Manifest.as_saved(data.storage).versions(PULLS).keys() == {"2026-03-01", "2026-03-02"}


@pytest.mark.parametrize("reader", [parts_of_checks, days_of_the_window])
def test_a_builder_overwrites_no_manifest_that_another_run_saved_though_a_reader_has_seen_it(reader, tmp_path):
    data, others = DataDirectory(tmp_path / "data"), DataDirectory(tmp_path / "data")
    data.claim("local", "none")
    builders = Manifest(data.records)
    saved = Manifest(others.records)
    saved.put_out_of_date(PURCHASES, "2026-03-02")
    saved.save()
    reader(data)
    builders.put_out_of_date(PURCHASES, "2026-03-01")
    with pytest.raises(ConflictError):
        builders.save()
    assert Manifest.as_saved(data.storage).state(PURCHASES).out_of_date.keys() == {"2026-03-02"}
