"""Tables of two periods, closed months and the days since: no mart depends on these, and a run derives what changed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pyarrow.parquet as pq

from pipeline.schema import TABLES
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.schema.table import Strategy, Zone
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.raw_log import Response, ResponseLog
from pipeline.transform.builder import Builder
from pipeline.transform.strategies import by_part
from tests.support.answers import fulfilled
from tests.support.busy_day import BusyDay

FIRST, SINCE = "2026-03-26", "2026-04-01"  # of the two periods
START = datetime(2026, 3, 26, 12, tzinfo=UTC)
DAYS = (0, 3, 5, 6, 7, 8, 11, 15, 20)  # of runs; the week of 30 March has runs of both periods
AFTERWARDS = datetime(2026, 6, 1, tzinfo=UTC)
MARTS = ("users", "pack_weeks")
BY_PERIOD = [table.name for table in TABLES.values() if table.strategy is Strategy.BY_PERIOD]


def history(folder, is_plain=False):
    data = DataDirectory(folder)
    data.claim("local", "none")
    runs = BusyDay(data, is_plain=is_plain)
    for day in DAYS:
        runs.add_run(START + timedelta(days=day), 25)
    return data, runs


def build(data):
    """The parts that were written, by table."""
    with data.exclusive(), Builder(data, AFTERWARDS, 0) as builder:
        reports = {table.name: builder.build(table) for table in TABLES.values() if table.zone is not Zone.RAW}
    return {name: set(report.written) for name, report in reports.items()}


def rows_of(data, name):
    paths = [path for of_part in data.store.parts(TABLES[name]).values() for path in of_part]
    return [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]


def marts(data):
    return {name: rows_of(data, name) for name in MARTS}


def marts_in_one_period(folder, monkeypatch):
    """The marts of the same history where all days are of one period."""
    data, _ = history(folder)
    with monkeypatch.context() as patch:
        patch.setattr(by_part, "CLOSED_AFTER", timedelta(days=1_000))
        written = build(data)
    assert [written[name] for name in BY_PERIOD] == [{FIRST}] * len(BY_PERIOD)
    return marts(data)


def test_users_and_weeks_of_packs_do_not_depend_on_the_periods(tmp_path, monkeypatch):
    data, _ = history(tmp_path / "two")
    written = build(data)
    assert [written[name] for name in BY_PERIOD] == [{FIRST, SINCE}] * len(BY_PERIOD)
    assert marts(data) == marts_in_one_period(tmp_path / "one", monkeypatch)
    medians: dict[tuple[str, date], list[float]] = {}
    for row in rows_of(data, "pack_week_periods"):
        medians.setdefault((row["pack_id"], row["week_start_date"]), []).append(row["multiple_median"])
    of_weeks = {(row["pack_id"], row["week_start_date"]): row["multiple_median"] for row in rows_of(data, "pack_weeks")}
    assert any(len(found) == 2 and of_weeks[week] not in found for week, found in medians.items())


def test_a_late_answer_changes_a_closed_month(tmp_path):
    data, _ = history(tmp_path / "data")
    build(data)
    pending = next(row for row in rows_of(data, "purchases") if row["status"] == "pending")
    assert f"{pending['submitted_at']:%Y-%m-%d}" < SINCE
    with data.exclusive():
        moment = START + timedelta(days=DAYS[-1], hours=1)
        at = int(moment.timestamp() * 1_000_000)
        log = ResponseLog(data, STATUS_RESPONSES, moment)
        body = fulfilled(pending["session_id"], {"id": "late", "buyback_price": 5}).body
        log.append(Response(pending["session_id"], at, at, 200, "application/json", body, "fulfilled", None))
        log.close()
    written = build(data)
    assert {name: written[name] for name in BY_PERIOD} == {
        "user_periods": {FIRST},
        "user_period_quote_counts": {SINCE},
        "pack_week_periods": {SINCE},
    }
    found = marts(data)
    with data.exclusive(), Builder(data, AFTERWARDS, 0) as builder:
        builder.forget_all()
        builder.build_published()
    assert marts(data) == found


def test_a_run_derives_the_open_days_alone_until_a_month_closes(tmp_path):
    data, runs = history(tmp_path / "data", is_plain=True)
    build(data)
    runs.add_run(START + timedelta(days=DAYS[-1] + 1), 25)
    written = build(data)
    assert [written[name] for name in BY_PERIOD] == [{SINCE}] * len(BY_PERIOD)
    runs.add_run(START + timedelta(days=50), 25)
    written = build(data)
    assert [written[name] for name in BY_PERIOD] == [{FIRST, "2026-05-15"}] * len(BY_PERIOD)
    bought = [row for row in rows_of(data, "purchases") if row["user_id"]]
    assert sum(row["purchase_count"] for row in rows_of(data, "users")) == len(bought)
