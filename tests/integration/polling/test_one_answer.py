"""An answer belongs to the session that asked: servers that say more than they were asked, at any moment."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from pipeline.polling.answers import Outcome
from pipeline.polling.progress import Progress
from pipeline.quality.reconciliations import RECONCILIATIONS
from pipeline.schema.findings import DATA_ISSUES
from pipeline.schema.staging import PURCHASES
from pipeline.simulator.server import FAILED, PENDING, Reply, Simulator
from pipeline.steps import Workspace
from tests.support.answers import fulfilled
from tests.support.raw_server import Act, RawServer, response, says
from tests.support.seeds import new_seed
from tests.support.strange_servers import as_it_should, raw, raw_api, said
from tests.support.workspace import build_all, derive, drop, findings, keep_answer, lake_rows

__all__ = ["raw_api"]  # the fixture

pytestmark = pytest.mark.timeout(120)

FAILURE = response(b'{"error": "Transaction failed"}', status="400 Bad Request")


def polled(*sessions: str) -> tuple[Workspace, Progress]:
    workspace = Workspace.open()
    drop(workspace, "ids.txt", "\n".join(sessions))
    return workspace, derive(workspace, PURCHASES, DATA_ISSUES)


def statuses(workspace: Workspace) -> dict[str, str]:
    return dict(lake_rows(workspace, "SELECT session_id, status FROM purchases"))


def assert_all_adds_up(workspace: Workspace) -> None:
    build_all(workspace)
    found = findings(workspace.data, RECONCILIATIONS)
    assert {key: finding.message for key, finding in found.items() if finding.offender_count} == {}


def test_a_failure_is_final_once_a_second_answer_says_the_same(api):
    simulator = api(Simulator(scripts={"f": [PENDING, FAILED], "ok": [fulfilled("ok")]}))
    workspace, progress = polled("f", "ok")
    assert said(workspace)["f"] == [
        ("pending", None),
        ("unconfirmed", "Transaction failed"),
        ("failed", "Transaction failed"),
    ]
    assert simulator.asked == {"f": 3, "ok": 1}
    assert progress.outcomes == {
        Outcome.PENDING: 1,
        Outcome.UNCONFIRMED: 1,
        Outcome.FAILED: 1,
        Outcome.FULFILLED: 1,
    }
    assert (progress.fulfilled, progress.failed, progress.pending) == (1, 1, 0)
    found = lake_rows(
        workspace, "SELECT status, poll_count, resolved_at = last_polled_at FROM purchases WHERE session_id = 'f'"
    )
    assert [row[:2] for row in found] == [("failed", 3)]
    assert raw(workspace, "session_id", "outcome = 'failed' AND body IS NOT NULL") == [("f",)]
    assert lake_rows(workspace, "SELECT count(*) FROM data_issues") == [(0,)]
    assert_all_adds_up(workspace)


def test_the_second_request_has_a_connection_of_its_own(api):
    used: dict[str, list[object]] = {}

    def note(request, session_id):
        used.setdefault(session_id, []).append(request.transport.get_extra_info("peername"))

    api(Simulator(scripts={s: [FAILED] for s in ("a", "b", "c")}, on_request=note))
    workspace, _ = polled("a", "b", "c")
    assert set(statuses(workspace).values()) == {"failed"}
    firsts = {first for first, _ in used.values()}
    seconds = [second for _, second in used.values()]
    assert len(set(seconds)) == 3
    assert not firsts.intersection(seconds)


def test_a_failure_that_the_second_answer_denies_is_a_finding_and_settles_nothing(api):
    api(Simulator(scripts={"denied": [FAILED, fulfilled("denied")], "again": [FAILED, PENDING, FAILED, FAILED]}))
    workspace, _ = polled("denied", "again")
    assert statuses(workspace) == {"denied": "fulfilled", "again": "failed"}
    assert [outcome for outcome, _ in said(workspace)["again"]] == ["unconfirmed", "pending", "unconfirmed", "failed"]
    issues = lake_rows(workspace, "SELECT session_id, rule, severity FROM data_issues")
    assert issues == [("denied", "unconfirmed_failure", "warning")]
    assert_all_adds_up(workspace)


def test_a_second_request_that_breaks_is_sent_again_until_it_is_answered(api):
    broken = [Reply(503), Reply(429, headers={"Retry-After": "0"}), Reply(is_dropped=True)]
    api(Simulator(scripts={"f": [FAILED, *broken, FAILED]}))
    workspace, _ = polled("f")
    assert [outcome for outcome, _ in said(workspace)["f"]] == ["unconfirmed", *["transient"] * 3, "failed"]


def test_a_run_that_ends_between_the_two_answers_leaves_the_session_pending(api, configure):
    api(Simulator(scripts={"f": [FAILED, Reply(503), Reply(503), Reply(503), FAILED]}))
    configure(poll_budget=0.3, poll_interval=0.25)
    workspace, progress = polled("f")
    assert statuses(workspace) == {"f": "pending"}
    assert (progress.failed, progress.pending) == (0, 1)
    assert lake_rows(workspace, "SELECT rule FROM data_issues") == [("unconfirmed_failure",)]
    configure(poll_budget=20)
    derive(Workspace.open(), PURCHASES, DATA_ISSUES)
    assert statuses(workspace) == {"f": "failed"}
    assert lake_rows(workspace, "SELECT rule FROM data_issues") == []


def test_failures_that_older_versions_stored_as_final_stay_so(api):
    """They were final after one answer."""
    simulator = api(Simulator(scripts={"old": [fulfilled("old")]}))
    workspace = Workspace.open()
    drop(workspace, "ids.txt", "old")
    workspace.take_in()
    keep_answer(workspace, "old", 400, b'{"error": "Transaction failed"}', "failed")
    derive(workspace, PURCHASES, DATA_ISSUES)
    assert simulator.asked == {}
    assert statuses(workspace) == {"old": "failed"}
    assert lake_rows(workspace, "SELECT count(*) FROM data_issues") == [(0,)]


def afterwards(whole: bytes, surplus: bytes) -> Act:
    """The surplus comes on its own, once the answer has been taken."""

    async def act(writer) -> None:
        writer.write(whole)
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(surplus)

    return act


@pytest.mark.parametrize(
    ("is_late", "surplus"),
    [
        *((False, surplus) for surplus in (FAILURE, FAILURE[:40], b"x", FAILURE * 3)),
        *((True, surplus) for surplus in (FAILURE, b"x")),
    ],
)
def test_surplus_bytes_close_the_connection_and_harm_nobody(is_late, surplus, raw_api, configure):
    def act(session_id: str) -> Act:
        whole = response(fulfilled(session_id).body)
        if not session_id.startswith("odd"):
            return says(whole)
        return afterwards(whole, surplus) if is_late else says(whole + surplus)

    server = raw_api(RawServer(act))
    configure(max_concurrency=1, requests_per_second=40)
    sessions = [f"{'odd' if i % 2 else 'even'}-{i}" for i in range(8)]
    workspace, progress = polled(*sessions)
    if not is_late:
        assert progress.outcomes == {Outcome.FULFILLED: 8}
    # What comes late may meet the next request, and be taken for its answer, but not twice.
    assert progress.outcomes[Outcome.FAILED] == 0
    assert set(statuses(workspace).values()) == {"fulfilled"}
    odd = sum(s.startswith("odd") for s in sessions)
    assert server.connection_count >= odd


def test_a_server_that_is_out_of_step_settles_no_session_wrongly(raw_api, configure, record_property):
    """Surplus answers at random moments, of every kind, whole or cut: what is final is what was said of the session."""
    seed = new_seed()
    print(f"seed {seed}")
    rng = random.Random(seed)
    kinds = [FAILURE, response(b'{"status": "pending"}'), FAILURE + FAILURE, FAILURE[:50], response(b"{}"), b"\r\n"]

    def act(session_id: str) -> Act:
        whole = FAILURE if session_id.startswith("bad") else response(fulfilled(session_id).body)
        surplus = rng.choice(kinds) if rng.random() < 0.3 else b""
        delay = rng.choice([0.0, 0.0, 0.001, 0.01])

        async def say(writer) -> None:
            writer.write(whole + (b"" if delay else surplus))
            await writer.drain()
            if delay:
                await asyncio.sleep(delay)
                writer.write(surplus)

        return say

    raw_api(RawServer(act))
    configure(max_concurrency=6, request_timeout=2, requests_per_second=0)
    sessions = [f"{'bad' if i % 10 == 0 else 'good'}-{i}" for i in range(300)]
    workspace, progress = polled(*sessions)
    assert statuses(workspace) == {s: "failed" if s.startswith("bad") else "fulfilled" for s in sessions}
    record_property(f"out of step, seed {seed}", dict(Counter({o.value: n for o, n in progress.outcomes.items()})))
    assert_all_adds_up(workspace)


@pytest.mark.parametrize("kibibytes", [8, 16, 32, 64])
def test_a_header_line_of_many_kibibytes_is_read(kibibytes, raw_api):
    long = response(fulfilled("long").body, "X-Trace: " + "y" * (kibibytes * 1024))
    raw_api(RawServer(as_it_should, {"long": [says(long)]}))
    workspace, _ = polled("long")
    assert said(workspace) == {"long": [("fulfilled", None)]}


def test_two_hundred_headers_are_read(raw_api):
    many = response(fulfilled("many").body, *(f"X-{i}: y" for i in range(200)))
    raw_api(RawServer(as_it_should, {"many": [says(many)]}))
    workspace, _ = polled("many")
    assert said(workspace) == {"many": [("fulfilled", None)]}


def test_a_session_that_only_ever_breaks_in_transport_is_a_finding(raw_api, configure):
    huge = says(response(b"{}", "X-Long: " + "y" * 1_000_000))
    script = {"huge": [huge], "after-pending": [says(response(b'{"status": "pending"}')), huge]}
    raw_api(RawServer(as_it_should, script))
    configure(poll_budget=2)
    workspace, _ = polled("huge", "after-pending", "fine")
    found = lake_rows(
        workspace, "SELECT session_id, severity, detail FROM data_issues WHERE rule = 'lost_answers' ORDER BY 1"
    )
    assert [row[:2] for row in found] == [("after-pending", "error"), ("huge", "error")]
    assert all("the answer is not HTTP" in detail for *_, detail in found)
    lost = {s: sum(outcome == "transient" for outcome, _ in answers) for s, answers in said(workspace).items()}
    assert [f"the last {lost[s]} requests" in detail for s, _, detail in found] == [True, True]


def test_a_session_that_is_answered_in_the_end_is_no_finding(raw_api):
    broken = says(b"\x00\xff garbage\r\n\r\n")
    raw_api(RawServer(as_it_should, {"late": [broken] * 4 + [as_it_should("late")]}))
    workspace, _ = polled("late")
    assert [outcome for outcome, _ in said(workspace)["late"]] == ["transient"] * 4 + ["fulfilled"]
    assert lake_rows(workspace, "SELECT count(*) FROM data_issues") == [(0,)]
