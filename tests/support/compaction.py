"""A day of answers in several objects, to be merged."""

from __future__ import annotations

import os
from datetime import timedelta

import pytest

from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.simulator.server import PENDING, Simulator
from pipeline.steps import Workspace
from pipeline.storage.compaction import GRACE
from pipeline.storage.connection import connect
from pipeline.storage.raw_log import Response, ResponseLog
from tests.support.answers import fulfilled
from tests.support.lake import NOW, PAST
from tests.support.workspace import drop

RUNS = 5
ROWS_A_RUN = 30


@pytest.fixture
def workspace(api):
    """Two past days of several runs each, and a today of several runs."""
    api(Simulator(delay_scale=0, hold=0))
    workspace = Workspace.open()
    drop(workspace, "a.txt", "\n".join(f"s{i}" for i in range(3 * RUNS * ROWS_A_RUN)))
    workspace.take_in()
    for day, midday in enumerate((PAST, PAST + timedelta(days=1), NOW)):
        for run in range(RUNS):
            answer(workspace, midday + timedelta(seconds=run), (day * RUNS + run) * ROWS_A_RUN)
    return workspace


def answer(workspace, moment, first_session=0):
    """One run's answers: for each session a pending one and a final one, all of the same moment."""
    log = ResponseLog(workspace.data, STATUS_RESPONSES, moment)
    at = int(moment.timestamp() * 1_000_000)
    for i in reversed(range(first_session, first_session + ROWS_A_RUN)):
        for body, outcome in ((PENDING.body, "pending"), (fulfilled(f"s{i}", {"id": f"i{i}"}).body, "fulfilled")):
            log.append(Response(f"s{i}", at, at, 200, "application/json", body, outcome, None))
    log.append(Response("s0", at, at, None, None, None, "transient", "broke off"))
    log.append(Response("s0", at, at, 200, None, bytes(range(256)), "malformed", "not UTF-8"))
    log.close()


def raw_rows(data):
    with connect(data) as connection:
        return connection.execute(f"FROM {data.store.scan(STATUS_RESPONSES)}").fetchall()


def objects(data, day=None):
    """What lies in the folder, replaced or not, and when it was written."""
    paths = (data.root / "raw" / "status_responses").glob(f"{day or '*'}/*.parquet")
    return {(path.parent.name, path.name): path.stat().st_mtime_ns for path in paths}


def listed(data):
    return {day: len(paths) for day, paths in data.store.parts(STATUS_RESPONSES).items()}


def let_an_hour_pass(data, until=NOW, hours=1.0):
    """Lets the merged objects be so old at a moment."""
    at = (until - hours * GRACE).timestamp()
    for path in (data.root / "raw").rglob("merged-*.parquet"):
        os.utime(path, (at, at))
