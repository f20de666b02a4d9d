"""A rebuild that machines with separate disks share, through a lake in an object store."""

from typing import Any

import dagster as dg
import pytest

from pipeline.orchestration.rebuilds import prebuild, rebuild_sensor
from pipeline.schema.staging import FULFILLED_RESULTS
from pipeline.storage.bucket import Bucket
from pipeline.transform.shared_rebuild import PREBUILT
from tests.support.lake import table_hashes
from tests.support.rebuilds import DAYS, add_days, adopted, prebuilding, round_begun


@pytest.fixture
def first(machines, lake_url, configure):
    """A machine that holds a lake with a few days of raw data."""
    configure(rebuild_processes=3)
    made = machines.use("first", lake_url)
    add_days(made)
    return made


def objects(lake_url):
    return [found.key for found in Bucket(lake_url).list("prebuilt")]


def test_other_machines_pre_build_and_one_that_is_lost_in_the_middle_costs_no_more_than_its_work(
    first, lake_url, monkeypatch, tmp_path, s3_server
):
    with first.builder() as alone:
        adopted(alone)
    expected = table_hashes(first.data)
    with round_begun(first, monkeypatch) as builder:
        for number in (1, 2):
            disk = tmp_path / f"machine-{number}"
            assert "parts pre-built" in prebuilding(number, PHYGITALS_DATA_DIR=disk).communicate()[0]
            assert not list(disk.glob("prebuilt/*/*"))
        Bucket(lake_url).write(objects(lake_url)[0], b"PAR1 torn PAR1")
        s3_server.requests.clear()
        assert sum(adopted(builder).values()) == DAYS * len(PREBUILT) - 1
        looks = [request for request in s3_server.requests if "/prebuilt/" in request.path]
        assert [request.method for request in looks] == ["HEAD", "GET"] * DAYS * len(PREBUILT)
    assert objects(lake_url) == []
    assert table_hashes(first.data) == expected
    with round_begun(first, monkeypatch) as builder:
        process = prebuilding(1, PHYGITALS_DATA_DIR=tmp_path / "machine")
        builder.build(FULFILLED_RESULTS)
        process.kill()
        process.communicate()
        adopted(builder)
    first.compact()
    assert objects(lake_url) == []
    assert table_hashes(first.data) == expected


def test_dagster_starts_a_run_for_each_other_process(first, lake_url, monkeypatch):
    with dg.build_sensor_context() as context:
        assert isinstance(rebuild_sensor(context), dg.SkipReason)
        with round_begun(first, monkeypatch) as builder:
            found: Any = rebuild_sensor(context)
            assert [request.tags["rebuild_share"] for request in found] == ["1 of 2", "2 of 2"]
            assert len({request.run_key for request in found}) == 2
            for request in found:
                assert prebuild.execute_in_process(run_config=request.run_config).success
            assert sum(adopted(builder).values()) == DAYS * len(PREBUILT)
        assert isinstance(rebuild_sensor(context), dg.SkipReason)


def test_the_sensor_starts_nothing_on_one_machine(machines, monkeypatch, configure):
    configure(rebuild_processes=3)
    workspace = machines.use("laptop", None)
    add_days(workspace)
    with round_begun(workspace, monkeypatch), dg.build_sensor_context() as context:
        assert isinstance(rebuild_sensor(context), dg.SkipReason)
