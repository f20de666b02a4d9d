"""Rows and figures are the same in every build, however many threads share the work."""

import json

import pyarrow.parquet as pq
import pytest

from pipeline.clock import now
from pipeline.schema import TABLES
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.simulator import catalogue
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from pipeline.storage.raw_log import Response, ResponseLog
from tests.support.lake import table_hashes
from tests.support.workspace import build_all, drop

pytestmark = pytest.mark.one_python

SESSIONS = 2_000  # of each of three raw objects: enough for more than one thread


@pytest.fixture
def workspace(api):
    """Three journals of answers of one day, with sessions that were answered twice."""
    api(Simulator())
    workspace = Workspace.open()
    at = int(now().timestamp() * 1_000_000)
    drop(workspace, "a.csv", "session_id,price_usd\n" + "".join(f"s{number},50\n" for number in range(3 * SESSIONS)))
    workspace.take_in()
    with workspace.data.exclusive():
        for part in range(3):
            log = ResponseLog(workspace.data, STATUS_RESPONSES, now())
            for number in range(part * SESSIONS, (part + 1) * SESSIONS):
                body = json.dumps({"result": catalogue.session(7, f"s{number}", False).result}).encode()
                for moment in (at + number, *([at + number + 1] if number % 500 == 0 else [])):
                    log.append(Response(f"s{number}", moment, moment, 200, "application/json", body, "fulfilled", None))
            log.close()
    return workspace


def rows_of(workspace, name):
    paths = [path for of_part in workspace.data.store.parts(TABLES[name]).values() for path in of_part]
    return [row for path in paths for row in pq.ParquetFile(path).read().to_pylist()]


def test_results_are_in_the_order_of_raw_and_every_build_gives_the_same_bits(workspace):
    build_all(workspace)
    found = [row["session_id"] for row in rows_of(workspace, "fulfilled_results")]
    received = list(dict.fromkeys(row["session_id"] for row in rows_of(workspace, "status_responses")))
    several = {session_id for session_id in received if int(session_id[1:]) % 500 == 0}
    assert [s for s in found if s not in several] == [s for s in received if s not in several]
    assert set(found[-len(several) :]) == several
    first = table_hashes(workspace.data)
    with workspace.builder() as builder:
        builder.forget_all()
    build_all(workspace)
    assert table_hashes(workspace.data) == first
