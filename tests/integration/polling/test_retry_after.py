"""A Retry-After that is longer than a run polls: the run ends and says so, and no other is started before."""

from __future__ import annotations

import json
from datetime import timedelta

import dagster as dg
import pytest

from pipeline.clock import now
from pipeline.orchestration.automation import daily_refresh, inbox_sensor, pending_sensor
from pipeline.polling.progress import Exit
from pipeline.polling.waits import Waits
from pipeline.schema.findings import DATA_ISSUES
from pipeline.schema.staging import PURCHASES
from pipeline.simulator.server import Reply, Simulator
from pipeline.steps import Workspace
from tests.support.answers import fulfilled
from tests.support.command_line import phygitals_here
from tests.support.strange_servers import said
from tests.support.workspace import derive, drop, lake_rows, rows

pytestmark = pytest.mark.timeout(120)

HOUR = {"Retry-After": "3600"}


def started(workspace: Workspace, *sessions: str) -> Workspace:
    drop(workspace, "ids.txt", "\n".join(sessions))
    return workspace


@pytest.mark.parametrize("status", [429, 503])
def test_a_wait_beyond_the_budget_ends_the_run_and_nobody_is_asked_before(status, api, configure):
    simulator = api(Simulator(scripts={s: [Reply(status, b"{}", HOUR), fulfilled(s)] for s in ("a", "b")}))
    configure(max_concurrency=1)
    workspace = started(Workspace.open(), "a", "b")
    progress = derive(workspace, PURCHASES, DATA_ISSUES)
    assert progress.exit is Exit.ASKED_TO_WAIT
    assert progress.seconds < 10
    assert simulator.asked.total() <= 1  # a 429 and a 503 come from the script of the one that was asked
    assert progress.wait_until is not None
    assert timedelta(minutes=59) < progress.wait_until - now() <= timedelta(hours=1)
    assert f"{progress.wait_until:%Y-%m-%d}" in progress.ending
    before = simulator.asked.total()
    again = derive(workspace, PURCHASES, DATA_ISSUES)
    assert (again.exit, again.requests, again.pending) == (Exit.ASKED_TO_WAIT, 0, 2)
    assert simulator.asked.total() == before
    assert lake_rows(workspace, "SELECT status, count(*) FROM purchases GROUP BY 1") == [("pending", 2)]


def test_while_the_api_asks_to_wait_nothing_starts_a_run(api, configure):
    api(Simulator(scripts={"a": [Reply(503, b"", HOUR)]}))
    workspace = started(Workspace.open(), "a")
    result = phygitals_here("refresh")
    assert result.returncode == 0, result.stderr
    assert "the API asks to wait until" in result.stdout
    drop(workspace, "more.txt", "b")
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance)
        for sensor in (inbox_sensor, pending_sensor):
            skip = sensor(context)
            assert isinstance(skip, dg.SkipReason)
            assert "the API asks to wait until" in str(skip.skip_message)
    assert isinstance(daily_refresh(), dg.SkipReason)
    result = phygitals_here("refresh")  # a person may, and what is no question is done
    assert "the API asks to wait until" in result.stdout
    assert rows(workspace, "SELECT session_id, status FROM purchases ORDER BY 1") == [
        ("a", "pending"),
        ("b", "pending"),
    ]


def test_when_the_wait_is_over_everybody_is_asked_again(api, monkeypatch):
    api(Simulator(scripts={"a": [Reply(503, b"", HOUR), fulfilled("a")]}))
    workspace = started(Workspace.open(), "a")
    derive(workspace, PURCHASES, DATA_ISSUES)
    assert isinstance(daily_refresh(), dg.SkipReason)
    monkeypatch.setattr("pipeline.steps.now", lambda: now() + timedelta(hours=2))
    assert isinstance(daily_refresh(), dg.RunRequest)
    derive(workspace, PURCHASES, DATA_ISSUES)
    assert lake_rows(workspace, "SELECT status FROM purchases") == [("fulfilled",)]
    assert not list(workspace.data.root.glob("staging/asked_to_wait*"))


def test_a_wait_of_one_session_keeps_no_other_from_being_asked(api, configure):
    others = [f"s{i}" for i in range(40)]
    scripts = {"odd": [Reply(503, b"", HOUR), fulfilled("odd")]} | {s: [fulfilled(s)] for s in others}
    scripts["s0"] = [Reply(200, fulfilled("s0").body, hold=0.5)]
    simulator = api(Simulator(scripts=scripts))
    configure(max_concurrency=8, requests_per_second=50)
    workspace = started(Workspace.open(), "odd", *others)
    progress = derive(workspace, PURCHASES, DATA_ISSUES)
    assert progress.fulfilled == 40
    assert progress.exit is Exit.SESSIONS_WAIT
    assert list(progress.waiting) == ["odd"]
    drop(workspace, "more.txt", "s40")
    again = derive(workspace, PURCHASES, DATA_ISSUES)
    assert simulator.asked["odd"] == 1
    assert again.total == 1
    assert lake_rows(workspace, "SELECT session_id FROM purchases WHERE status = 'pending'") == [("odd",)]


def test_a_wait_of_more_than_a_day_is_reported_and_taken_as_a_minute(api, configure):
    values = {"a": "1793000000", "b": "Fri, 01 Jan 2100 00:00:00 GMT"}
    api(Simulator(scripts={s: [Reply(503, b"", {"Retry-After": value})] for s, value in values.items()}))
    configure(poll_budget=3)
    workspace = started(Workspace.open(), *values)
    progress = derive(workspace, PURCHASES, DATA_ISSUES)
    assert progress.wait_until is None or progress.wait_until - now() <= timedelta(minutes=1)
    assert said(workspace) == {s: [("transient", "HTTP 503; its Retry-After is implausible")] for s in values}
    found = lake_rows(workspace, "SELECT severity, field, detail, raw_value FROM data_issues")
    assert [(severity, field) for severity, field, *_ in found] == [("warning", "Retry-After")]
    assert found[0][2].startswith("2 occurrences")
    assert found[0][3] in values.values()


def test_a_note_of_waits_that_cannot_be_is_none(api):
    api(Simulator())
    data = Workspace.open().data
    file = data.root / "staging" / "asked_to_wait.json"
    file.parent.mkdir(exist_ok=True)
    far = (now() + timedelta(days=2)).isoformat()
    past = (now() - timedelta(days=2)).isoformat()
    for content in (
        "",
        "[]",
        "null",
        '{"everybody": 7, "sessions": {}}',
        '{"everybody": "soon", "sessions": {}}',
        '{"everybody": null, "sessions": ["a"]}',
        '{"everybody": "2026-01-01T00:00:00", "sessions": {}}',
        json.dumps({"everybody": far, "sessions": {"a": far}}),
        json.dumps({"everybody": past, "sessions": {"a": past}}),
    ):
        file.write_text(content)
        assert Waits.of(data.records, now()) == Waits(), content
