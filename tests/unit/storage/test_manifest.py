"""The manifest of a builder, and readers of it beside the builder."""

from datetime import date

import duckdb
import pytest

from pipeline.quality.checker import CHECKS
from pipeline.quality.lake_parts import LakeParts
from pipeline.schema.staging import PURCHASES
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.errors import ConflictError
from pipeline.storage.manifest import Manifest
from pipeline.storage.window import Window


def parts_of_checks(data):
    check = next(check for check in CHECKS if check.key == "purchases.every_resolution_is_an_answer")
    with duckdb.connect() as connection:
        LakeParts(data, ["status"]).inputs(check, connection)


def days_of_the_window(data):
    Window(1, date(2026, 3, 1)).etags(data, PURCHASES)


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
