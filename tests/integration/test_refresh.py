"""The job's steps in a production-like environment: answers of every kind, and what runs leave to later ones."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from pipeline import steps
from pipeline.clock import now
from pipeline.orchestration.resources import WorkspaceResource
from pipeline.schema.findings import DATA_ISSUES
from pipeline.schema.staging import PULLS, PURCHASES
from pipeline.simulator.server import FAILED, PENDING, Reply, Simulator
from pipeline.sources import inbox
from pipeline.steps import Workspace
from pipeline.storage.errors import DataDirectoryError
from tests.support.answers import fulfilled
from tests.support.lake import assert_secret_is_nowhere, lake_hashes
from tests.support.workspace import (
    KEY,
    ask,
    build_all,
    derive,
    drop,
    lake_records,
    lake_rows,
    records,
    refresh,
    rows,
    statuses,
)

EVERY_KIND = {
    "at-once": [fulfilled("at-once")],
    "after-pending": [PENDING, PENDING, fulfilled("after-pending")],
    "after-empty": [Reply.json({"result": {"session_id": "after-empty", "nfts": []}}), fulfilled("after-empty")],
    "failed": [PENDING, FAILED, FAILED],
    "after-403": [Reply(403, b"<html>cf-ray</html>"), fulfilled("after-403")],
    "after-404": [Reply.json({"error": "Not found"}, 404), fulfilled("after-404")],
    "after-other-400": [Reply.json({"error": "Bad request"}, 400), fulfilled("after-other-400")],
    "after-408": [Reply(408), fulfilled("after-408")],
    "after-429": [Reply(429, b"{}", {"Retry-After": "0"}), fulfilled("after-429")],
    "after-500": [Reply.json({"error": "An unexpected error occurred"}, 500), fulfilled("after-500")],
    "after-503": [Reply(503, b"", {"Retry-After": "0"}), fulfilled("after-503")],
    "after-drop": [Reply(is_dropped=True), fulfilled("after-drop")],
    "after-redirect": [Reply(302, b"", {"Location": "http://127.0.0.1:9/"}), fulfilled("after-redirect")],
    "after-garbage": [Reply(200, b"\xff\xfenot json"), fulfilled("after-garbage")],
    "after-cut": [Reply(200, b'{"result": {', declared_length=500), fulfilled("after-cut")],
    "after-list": [Reply.json([1]), fulfilled("after-list")],
    "after-both": [Reply.json({"status": "pending", "error": "x"}), fulfilled("after-both")],
    "after-other-id": [fulfilled("somebody-else"), fulfilled("after-other-id")],
    "after-huge": [Reply(200, b'{"status": "pending", "x": "' + b"x" * 9_000_000 + b'"}'), fulfilled("after-huge")],
    "never": [PENDING],
}

MALFORMED = {
    "after-redirect": "HTTP 302 is not an answer that the API documents",
    "after-garbage": "the body is not UTF-8",
    "after-cut": "the body is truncated",
    "after-list": "the body is not a JSON object",
    "after-both": "status and error of result, status and error",
    "after-other-id": "result.session_id is another session's",
    "after-huge": "the body is over 8 MiB",
}


@pytest.fixture
def every_kind(copy_of) -> Workspace:
    """A workspace after a refresh that had answers of every kind."""

    def build(workspace: Workspace) -> None:
        drop(workspace, "ids.txt", "\n".join(EVERY_KIND))
        refresh(Workspace(workspace.settings.model_copy(update={"poll_budget": 4.0}), workspace.data))

    copied: Workspace = copy_of("every kind", lambda: Simulator(delay_scale=0, hold=0, scripts=EVERY_KIND), build)
    return copied


def test_answers_of_every_kind_come_to_what_the_specification_says(every_kind):
    workspace = every_kind
    found = {r["session_id"]: r for r in records(workspace, "FROM purchases")}
    assert len(found) == len(EVERY_KIND)
    for session_id, purchase in found.items():
        expected = {"failed": "failed", "never": "pending"}.get(session_id, "fulfilled")
        assert purchase["status"] == expected, session_id
        assert (purchase["resolved_at"] is None) == (expected == "pending")
        assert purchase["submitted_at"] <= purchase["first_polled_at"] <= purchase["last_polled_at"]
        if session_id != "never":
            assert purchase["poll_count"] == len(EVERY_KIND[session_id]), session_id
            assert purchase["last_polled_at"] <= purchase["resolved_at"]
    issues = rows(workspace, "SELECT session_id, detail FROM data_issues WHERE rule = 'malformed_answer'")
    assert dict(issues) == MALFORMED
    assert len(issues) == len(MALFORMED)
    assert rows(workspace, "SELECT count(*) FROM pulls") == [(len(EVERY_KIND) - 2,)]


def test_every_answer_is_kept_byte_for_byte(every_kind):
    from pipeline.schema.raw import STATUS_RESPONSES
    from pipeline.storage.connection import connect

    workspace = every_kind
    with connect(workspace.data) as connection:
        raw = connection.execute(
            f"SELECT session_id, body FROM {workspace.data.store.scan(STATUS_RESPONSES)} "
            "WHERE session_id <> 'never' ORDER BY session_id, received_at"
        ).fetchall()
    kept: dict[str, list[bytes | None]] = {}
    for session_id, body in raw:
        kept.setdefault(session_id, []).append(None if body is None else bytes(body))
    for session_id, bodies in kept.items():
        sent = [None if r.is_dropped else r.body[: 8 * 1024 * 1024] for r in EVERY_KIND[session_id]]
        assert bodies == sent, session_id


def test_a_second_run_with_nothing_new_changes_nothing_and_a_third_adds_what_is_new(api):
    api(Simulator(delay_scale=0, hold=0))
    workspace = Workspace.open()
    drop(workspace, "a.txt", "\n".join(f"a{i}" for i in range(40)))
    refresh(workspace)
    first, first_rows = lake_hashes(workspace), rows(workspace, "FROM pulls")
    refresh(workspace)
    assert lake_hashes(workspace) == first
    assert rows(workspace, "FROM pulls") == first_rows
    drop(workspace, "b.txt", "\n".join(f"b{i}" for i in range(10)))
    derive(workspace, PURCHASES, PULLS)
    later = lake_rows(workspace, "FROM pulls")
    assert set(first_rows) < set(later)
    assert {row[0][0] for row in set(later) - set(first_rows)} == {"b"}
    assert lake_rows(workspace, "SELECT count(*) FROM purchases") == [(50,)]


def test_tables_built_step_by_step_equal_tables_built_at_once(api):
    api(Simulator(delay_scale=0, hold=0))
    workspace = Workspace.open()
    for name in "ab":
        drop(workspace, f"{name}.txt", "\n".join(f"{name}{i}" for i in range(20)))
        ask(workspace)
        build_all(workspace)
    stepwise = lake_hashes(workspace)
    for derived in ("lake", "staging"):
        for path in (workspace.data.root / derived).rglob("*.parquet"):
            path.unlink()
    (workspace.data.root / "staging" / "manifest.json").unlink()
    build_all(workspace)
    assert lake_hashes(workspace) == stepwise


def test_what_is_pending_is_asked_again_by_the_next_run(api, configure):
    simulator = api(Simulator(delay_scale=0, hold=0, scripts={"s": [PENDING, PENDING, fulfilled("s")]}))
    configure(poll_interval=1, poll_budget=0.2)
    workspace = Workspace.open()
    drop(workspace, "a.txt", "s\n")
    derive(workspace, PURCHASES)
    assert lake_rows(workspace, "SELECT status, poll_count FROM purchases") == [("pending", 1)]
    derive(workspace, PURCHASES)
    derive(workspace, PURCHASES)
    assert lake_rows(workspace, "SELECT status, poll_count FROM purchases") == [("fulfilled", 3)]
    derive(workspace, PURCHASES)
    assert simulator.asked["s"] == 3


def test_an_unresolved_session_expires_and_submitting_it_again_reopens_it(api, configure, monkeypatch):
    simulator = api(Simulator(delay_scale=0, hold=0, scripts={"s": [PENDING, PENDING, PENDING, fulfilled("s")]}))
    configure(poll_interval=1, poll_budget=0.2, expire_after=3600)
    workspace = Workspace.open()
    drop(workspace, "a.txt", "s\n")
    derive(workspace, PURCHASES)
    assert lake_rows(workspace, "SELECT status FROM purchases") == [("pending",)]
    monkeypatch.setattr(steps, "now", lambda: now() + timedelta(hours=2))
    derive(workspace, PURCHASES)
    assert lake_rows(workspace, "SELECT status, resolved_at FROM purchases") == [("expired", None)]
    asked = simulator.asked["s"]
    derive(workspace, PURCHASES)
    assert simulator.asked["s"] == asked
    inbox.submit_ids(workspace.data, ["s"], now())
    for _ in range(3):
        derive(workspace, PURCHASES)
    (purchase,) = lake_records(workspace, "FROM purchases")
    assert (purchase["status"], purchase["poll_count"]) == ("fulfilled", 4)


def test_a_session_never_expires_unasked(api, configure, monkeypatch):
    api(Simulator(delay_scale=0, hold=0))
    configure(expire_after=3600)
    workspace = Workspace.open()
    drop(workspace, "a.txt", "s\n")
    workspace.take_in()
    monkeypatch.setattr(steps, "now", lambda: now() + timedelta(days=30))
    derive(workspace, PURCHASES)
    assert lake_rows(workspace, "SELECT status FROM purchases") == [("fulfilled",)]


def test_with_an_expiry_of_0_no_session_ever_expires(api, configure, monkeypatch):
    api(Simulator(delay_scale=0, hold=0, scripts={"s": [PENDING]}))
    configure(poll_interval=1, poll_budget=0.2, expire_after=0)
    workspace = Workspace.open()
    drop(workspace, "a.txt", "s\n")
    derive(workspace, PURCHASES)
    monkeypatch.setattr(steps, "now", lambda: now() + timedelta(days=3650))
    derive(workspace, PURCHASES)
    assert lake_rows(workspace, "SELECT status, poll_count FROM purchases") == [("pending", 2)]


def test_an_api_below_another_prefix_is_asked_there(api, configure):
    api(Simulator(delay_scale=0, hold=0, prefix="/partners/v2", scripts={"s": [fulfilled("s")]}))
    configure(api_prefix="/partners/v2")
    workspace = Workspace.open()
    drop(workspace, "a.txt", "s\n")
    ask(workspace)
    assert statuses(workspace) == {"s": "fulfilled"}


def test_no_more_requests_are_in_flight_than_the_setting_says(api, configure):
    in_flight: list[int] = [0]

    class Crowded(Simulator):
        async def _reply(self, session_id):
            in_flight.append(in_flight[-1] + 1)
            try:
                return await super()._reply(session_id)
            finally:
                in_flight.append(in_flight[-1] - 1)

    sessions = [f"s{i}" for i in range(40)]
    slowly = dataclasses.replace(FAILED, hold=0.05)
    api(Crowded(delay_scale=0, scripts={session_id: [slowly] for session_id in sessions}))
    configure(max_concurrency=7)
    workspace = Workspace.open()
    drop(workspace, "a.txt", "\n".join(sessions))
    ask(workspace)
    assert max(in_flight) == 7
    assert statuses(workspace) == dict.fromkeys(sessions, "failed")


def test_an_answer_that_contradicts_a_final_one_is_an_issue_and_changes_nothing(api):
    script = {"s": [fulfilled("s", {"id": "first"}), fulfilled("s", {"id": "second"}), FAILED, FAILED, PENDING]}
    api(Simulator(delay_scale=0, hold=0, scripts=script))
    workspace = Workspace.open()
    drop(workspace, "a.txt", "s\n")
    derive(workspace, PURCHASES, PULLS, DATA_ISSUES)
    before = lake_rows(workspace, "SELECT * EXCLUDE (poll_count, last_polled_at, last_pending_at) FROM purchases")
    for _ in range(3):
        # Nothing asks a final session again; a raw log of another machine could hold such answers all the same.
        from pipeline.polling.endpoint import BUY_STATUS
        from pipeline.polling.pending import PendingSessions
        from pipeline.polling.run import poll
        from pipeline.steps import serving_url

        with workspace.data.exclusive(), serving_url(workspace.settings, BUY_STATUS) as url:
            workspace_settings = workspace.settings.model_copy(update={"poll_budget": 1.0, "poll_interval": 30.0})
            sessions = PendingSessions.of(["s"], 0.0)
            poll(workspace.data, workspace_settings, BUY_STATUS, url, sessions, lambda _: None)
    derive(workspace, PURCHASES, PULLS, DATA_ISSUES)
    assert (
        lake_rows(workspace, "SELECT * EXCLUDE (poll_count, last_polled_at, last_pending_at) FROM purchases") == before
    )
    assert lake_rows(workspace, "SELECT item_id FROM pulls") == [("first",)]
    found = lake_rows(
        workspace, "SELECT detail FROM data_issues WHERE rule = 'contradicting_answer' ORDER BY observed_at"
    )
    assert found == [
        ("the session was already fulfilled; a later answer reports fulfilled with other content",),
        ("the session was already fulfilled; a later answer reports failed",),
        ("the session was already fulfilled; a later answer reports pending",),
    ]


def test_a_file_that_cannot_be_read_is_a_finding_that_says_why(api):
    api(Simulator(delay_scale=0, hold=0))
    workspace = Workspace.open()
    drop(workspace, "picture.png", b"\x89PNG")
    drop(workspace, "good.txt", "fine\n")
    refresh(workspace)
    found = rows(workspace, "SELECT source, severity, detail FROM data_issues WHERE rule = 'rejected_file'")
    ((source, severity, detail),) = found
    assert (source, severity) == ("picture.png", "error")
    assert detail == "its name ends in .png; use one of .csv, .jsonl, .ndjson, .parquet, .txt"
    assert rows(workspace, "SELECT session_id FROM purchases") == [("fine",)]


def test_the_key_is_written_nowhere_even_when_the_server_echoes_it(api, capfd):
    echo = {"error": f"key {KEY} is odd"}
    scripts = {
        "a": [Reply.json(echo, 500), Reply.json(echo), fulfilled("a", {"id": KEY})],
        "b": [Reply(200, b"{}", {"Content-Type": KEY})],
    }
    api(Simulator(delay_scale=0, hold=0, scripts=scripts))
    workspace = Workspace.open()
    drop(workspace, "a.txt", "a\nb\n")
    workspace = Workspace(workspace.settings.model_copy(update={"poll_budget": 1.0}), workspace.data)
    refresh(workspace)
    assert rows(workspace, "SELECT item_id FROM pulls") == [("[redacted]",)]
    assert_secret_is_nowhere(workspace.data.root)
    printed = capfd.readouterr()
    assert KEY not in printed.out + printed.err


def test_a_run_keeps_the_right_to_write_between_its_steps(api):
    api(Simulator(delay_scale=0, hold=0))
    run = WorkspaceResource(lambda _: None, lambda _: None)
    with run.open() as workspace:
        workspace.take_in()
    with pytest.raises(DataDirectoryError, match="another run is writing"):
        Workspace.open().take_in()
    with run.read():
        pass
    run.close()
    Workspace.open().take_in()


def test_the_local_environment_starts_its_own_simulator():
    workspace = Workspace.open()
    drop(workspace, "a.txt", "\n".join(f"s{i}" for i in range(2)))
    ask(workspace)
    found = statuses(workspace)
    assert len(found) == 2 and set(found.values()) <= {"fulfilled", "failed"}


def test_a_pause_that_outlasts_the_budget_ends_the_run(api, configure):
    busy = Reply(429, b"{}", {"Retry-After": "600"})
    simulator = api(Simulator(delay_scale=0, hold=0, scripts={"s": [busy]}))
    configure(poll_budget=120)
    workspace = Workspace.open()
    drop(workspace, "a.txt", "s\n")
    ask(workspace)
    assert statuses(workspace) == {"s": "pending"}
    assert simulator.asked["s"] == 1
