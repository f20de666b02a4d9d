"""The parts of a table that is cut by time."""

from __future__ import annotations

import dataclasses

import pytest

from pipeline.polling.endpoint import ENDPOINTS
from pipeline.schema import TABLES
from pipeline.schema.table import Partition, Strategy, Zone
from pipeline.transform.strategies.by_part import raw_sources

BY_DAY = [
    table
    for table in TABLES.values()
    if table.zone is not Zone.RAW and table.strategy in (Strategy.BY_PART, Strategy.BY_DAY)
]


@pytest.mark.parametrize("table", BY_DAY, ids=lambda table: table.name)
def test_the_days_of_each_table_are_those_of_the_answers_or_of_the_submissions(table):
    answers = {endpoint.table.name for endpoint in ENDPOINTS}
    (raw,) = raw_sources(table)
    assert raw in (answers if table.partition is Partition.OBSERVED else {"session_submissions"})


def test_the_days_of_a_table_are_those_of_the_raw_table_that_it_reads():
    table = dataclasses.replace(
        TABLES["session_day_polls"], sources=("sellback_submissions", "pulls"), partition=Partition.SUBMITTED
    )
    assert raw_sources(table) == {"sellback_submissions"}
