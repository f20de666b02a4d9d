"""A second endpoint with an id, a request, answers and a raw table of its own, against strange servers and kills."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter

import pytest

from pipeline.polling.answers import Outcome
from pipeline.polling.engine import Limits
from pipeline.polling.progress import Exit
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.simulator.limiters import TokenBucket
from pipeline.simulator.virtual_api import Conduct, Fate
from pipeline.steps import Workspace
from pipeline.storage.data_directory import DataDirectory
from tests.support.made_up_endpoint import ITEM_OWNER, owner_answer, owner_body, poll_owners
from tests.support.polling_process import Arrivals
from tests.support.raw_server import Act, RawServer, goes_on_for_ever, hangs_up_after, response, says
from tests.support.simulated_life import Life
from tests.support.strange_servers import raw, said

pytestmark = pytest.mark.timeout(120)

POLL = """
import sys
from pipeline.steps import Workspace
from tests.support.made_up_endpoint import poll_owners
poll_owners(Workspace.open(), [f"item-{i}" for i in range(int(sys.argv[1]))])
"""


def as_it_should(item_id: str) -> Act:
    return says(response(owner_body(item_id)))


def test_strange_answers_get_the_endpoints_own_meaning_and_are_kept_in_its_own_table(raw_api, configure):
    first = {
        "pending": (says(response(owner_body("pending", None))), "pending", None),
        "another": (says(response(owner_body("item"))), "malformed", "item_id is another item's"),
        "no-json": (says(response(b"{")), "malformed", "the body is not JSON"),
        "half": (hangs_up_after(response(owner_body("half"))[:-3]), "malformed", "the body is truncated"),
        "busy": (says(response(b"", "Retry-After: 0", status="429 Too Many Requests")), "transient", "HTTP 429"),
        "garbage": (says(b"\x00\xff garbage\r\n\r\n"), "transient", "the answer is not HTTP"),
        "gone": (hangs_up_after(b"HTTP/1."), "transient", "the connection broke"),
        "silent": (goes_on_for_ever(b""), "transient", "no answer within 2 s"),
    }
    ordinary = [f"ordinary-{i}" for i in range(20)]
    scripts = {item_id: [act, as_it_should(item_id)] for item_id, (act, *_) in first.items()}
    server = raw_api(RawServer(as_it_should, scripts, id_key="item_id"))
    configure(request_timeout=2)
    workspace = Workspace.open()
    progress = poll_owners(workspace, [*first, *ordinary])
    expected = {item_id: [(outcome, detail), ("fulfilled", None)] for item_id, (_, outcome, detail) in first.items()}
    assert said(workspace, ITEM_OWNER.table) == expected | dict.fromkeys(ordinary, [("fulfilled", None)])
    assert (progress.exit, progress.fulfilled) == (Exit.ALL_FINAL, len(first) + len(ordinary))
    assert b"POST /api/v1/vm/item/owner HTTP/1.1" in server.received
    bodies = raw(workspace, "body", "session_id LIKE 'ordinary-%' ORDER BY session_id", ITEM_OWNER.table)
    assert bodies == [(owner_body(item_id),) for item_id in sorted(ordinary)]
    assert workspace.data.store.parts(STATUS_RESPONSES) == {}


def test_a_kill_loses_no_final_answer_older_than_two_seconds(raw_api, configure):
    count = 300
    arrivals = Arrivals(wanted=150)

    def noted(item_id: str) -> Act:
        arrivals(None, item_id)
        return as_it_should(item_id)

    raw_api(RawServer(noted, id_key="item_id"))
    configure(requests_per_second=40)
    workspace = Workspace.open()
    process = subprocess.Popen([sys.executable, "-c", POLL, str(count)])
    assert arrivals.reached.wait(60)
    killed_at = time.monotonic()
    process.kill()
    process.wait()
    assert workspace.data.store.parts(ITEM_OWNER.table) == {}
    poll_owners(workspace, [f"item-{i}" for i in range(count)])
    asked_first = [item_id for at, item_id in arrivals.times if at < killed_at - 2.0]
    assert len(asked_first) > 40
    assert {item_id for at, item_id in arrivals.times if at > killed_at}.isdisjoint(asked_first)
    kept = raw(workspace, "session_id", "outcome = 'fulfilled'", ITEM_OWNER.table)
    assert Counter(item_id for (item_id,) in kept) == dict.fromkeys((f"item-{i}" for i in range(count)), 1)


@pytest.mark.one_python
@pytest.mark.parametrize("seed", range(6))
def test_whenever_a_run_is_killed_nothing_is_lost_doubled_or_asked_too_often(seed, tmp_path):
    rng = random.Random(seed)
    fates = {f"item-{i}": Fate(rng.lognormvariate(2.0, 2.0)) for i in range(100)}
    ages = dict.fromkeys(fates, 60.0)
    subject = Life(DataDirectory(tmp_path), fates, ages, rng, ITEM_OWNER, owner_answer)
    for _ in range(4):
        conduct = Conduct(broken_share=0.05, dropped_share=0.05, malformed_share=0.05, limiter=TokenBucket(20, 10))
        subject.run(conduct, Limits(50, 25.0, 60.0, 2.0), kill_after=rng.uniform(0.0, 60.0))
        subject.recover()
        subject.check()
    found = {row["outcome"] for row in subject.raw()}
    assert {Outcome.PENDING, Outcome.MALFORMED, Outcome.FULFILLED} <= found
