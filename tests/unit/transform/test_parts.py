"""The parts of a table that is cut by time."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from pipeline.polling.endpoint import ENDPOINTS
from pipeline.schema import TABLES
from pipeline.schema.table import Partition, Strategy, Zone
from pipeline.transform.strategies.by_part import by_period, raw_sources

BY_DAY = [
    table
    for table in TABLES.values()
    if table.zone is not Zone.RAW and table.strategy in (Strategy.BY_PART, Strategy.BY_DAY, Strategy.BY_PERIOD)
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


@pytest.mark.parametrize(
    ("latest", "since"),
    [("2026-03-14", "2026-02-01"), ("2026-03-15", "2026-03-01"), ("2026-03-31", "2026-03-01"), ("2026-01-02", "")],
)
def test_a_month_is_closed_when_it_ended_more_than_two_weeks_before_the_latest_day(latest, since):
    days = pd.date_range("2025-12-29", latest).strftime("%Y-%m-%d")
    parts = [part for day in days for part in (f"{day}T0000-0720", f"{day}T0720-1440")]
    periods = by_period(parts)
    assert [part for period in periods.values() for part in period] == parts
    assert list(periods) == ["2025-12-29"] + ([since] if since else [])
    assert [period[0] for period in periods.values()] == [f"{first}T0000-0720" for first in periods]


def test_a_table_without_days_has_no_period():
    assert by_period([]) == {}
