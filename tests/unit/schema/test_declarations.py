"""What a declaration says beyond names and types."""

from __future__ import annotations

import pytest

from pipeline.polling.answers import Outcome
from pipeline.polling.endpoint import ENDPOINTS
from pipeline.schema import RAW, TABLES
from pipeline.schema.table import MONEY, SHARE, TIME, Column, Partition
from pipeline.storage.raw_log import Response


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        (Column("price_usd", MONEY, ""), "USD"),
        (Column("pulled_at", TIME, ""), "UTC"),
        (Column("pulled_date", "DATE", ""), "UTC day"),
        (Column("latency_p50_seconds", "DOUBLE", ""), "seconds"),
        (Column("pull_share", "DOUBLE", ""), SHARE),
        (Column("return_ratio", "DOUBLE", ""), "ratio"),
        (Column("age", "DOUBLE", "", unit="hours"), "hours"),
        (Column("name", "VARCHAR", ""), None),
    ],
)
def test_a_unit_follows_from_the_type_or_the_name_unless_it_is_said(column, unit):
    assert column.unit == unit


def test_every_share_and_every_price_has_its_unit():
    columns = [column for table in TABLES.values() for column in table.columns]
    assert {c.unit for c in columns if c.name.endswith("_usd")} == {"USD"}
    assert {c.unit for c in columns if c.name.endswith(("_share", "_rate", "_rate_low", "_rate_high"))} == {SHARE}


def test_what_a_table_refers_to_exists_with_those_columns():
    for table in TABLES.values():
        for reference in table.references:
            names = {column.name for column in TABLES[reference.table].columns} & {c.name for c in table.columns}
            assert set(reference.columns) <= names


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.path)
def test_the_table_of_an_endpoint_has_what_log_and_recovery_need_and_accepts_every_outcome(endpoint):
    columns = {column.name: column for column in endpoint.table.columns}
    needed = {"session_id", "requested_at", "received_at", "body", "body_sha256", "outcome"}
    assert needed <= columns.keys() <= {*Response._fields, "body_sha256"}
    assert set(columns["outcome"].accepted) == {outcome.value for outcome in Outcome}
    assert endpoint.table in RAW
    assert endpoint.table.partition is Partition.OBSERVED


def test_every_raw_table_is_cut_by_day_and_says_when_a_row_was_received():
    for table in RAW:
        (received,) = [column for column in table.columns if column.name == table.received_at]
        assert (received.type, received.is_required) == (TIME, True)
        assert table.partition is not Partition.NONE
