"""The daily digest over a real webhook: when it is sent, how often, and that a bad webhook costs nothing but a line."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import dagster as dg
import pytest

from pipeline.clock import now
from pipeline.orchestration.composition import build_definitions
from pipeline.orchestration.digest import send_digest
from pipeline.orchestration.resources import workspace_resource
from pipeline.settings import Settings, SettingsError
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from tests.support.command_line import phygitals_here
from tests.support.webhook_receiver import SECRET
from tests.support.workspace import drop, refresh


@pytest.fixture
def digested(copy_of, receiver, configure):
    """A published workspace whose digest is due at any time of the day, and its webhook."""

    def build(workspace: Workspace) -> None:
        drop(workspace, "a.csv", "session_id,pack_id,price_usd\na,p,10\nb,p,10\n")
        refresh(workspace)

    copy_of("digested", lambda: Simulator(delay_scale=0, hold=0), build)
    kept, url = receiver
    configure(digest_webhook=url, daily_cron="0 0 * * *")
    return Workspace.open(), kept


def send(workspace: Workspace, started_at: datetime | None = None) -> list[str]:
    """Returns the lines for people."""
    lines: list[str] = []
    with workspace.data.exclusive():
        send_digest(workspace, started_at or now(), lines.append)
    return lines


def test_a_run_succeeds_though_the_webhook_fails_and_the_next_sends_the_digest_once(digested):
    workspace, kept = digested
    kept.status = 500
    lines: list[str] = []
    job = build_definitions(workspace_resource(lines.append)).resolve_job_def("refresh")
    with dg.DagsterInstance.get() as instance:
        result = job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("report")])
        records = instance.get_records_for_run(result.run_id).records
        log = "".join(record.event_log_entry.user_message or "" for record in records)
    assert result.success
    line = "the daily digest was not sent: PHYGITALS_DIGEST_WEBHOOK answered HTTP 500"
    assert [each for each in lines if each.startswith(line)]
    assert line in log and SECRET not in log
    status = phygitals_here("status", "--json")
    assert (json.loads(status.stdout)["last_run"]["result"], status.returncode) == ("succeeded", 0)
    kept.status = 200
    assert send(workspace) == []
    assert len(kept.messages) == 2
    assert send(workspace) == []  # a later run of the day
    assert len(kept.messages) == 2
    message = kept.messages[-1]
    assert set(message) == {"text", "environment", "host"}
    assert message["text"].startswith(f"Phygitals production on {message['host']}: none pending; newest answer ")
    assert message["text"].endswith(f"Report: {workspace.data.report}")


def test_a_run_that_began_before_the_schedules_time_leaves_the_digest_to_the_next(digested):
    workspace, kept = digested
    midnight = now().replace(hour=0, minute=0, second=0, microsecond=0)
    send(workspace, midnight - timedelta(seconds=1))
    assert kept.messages == []
    send(workspace, midnight + timedelta(seconds=1))
    assert len(kept.messages) == 1


def test_a_run_that_ends_after_midnight_sends_the_digest_of_the_day_on_which_it_began_once(
    digested, configure, monkeypatch
):
    _, kept = digested
    configure(daily_cron="50 23 * * *")
    workspace = Workspace.open()
    midnight = now().replace(hour=0, minute=0, second=0, microsecond=0)
    monkeypatch.setattr("pipeline.orchestration.digest.now", lambda: midnight + timedelta(minutes=5))
    send(workspace, midnight - timedelta(minutes=9))
    assert len(kept.messages) == 1
    send(workspace, midnight + timedelta(minutes=4))
    assert len(kept.messages) == 1


def test_a_digest_of_an_earlier_day_does_not_count(digested):
    workspace, kept = digested
    with workspace.data.exclusive():
        workspace.data.records.save("digest", {"day": (now() - timedelta(days=1)).date().isoformat()})
    send(workspace)
    assert len(kept.messages) == 1


def test_a_published_file_that_cannot_be_read_fails_nothing(digested):
    workspace, kept = digested
    workspace.data.warehouse.write_bytes(b"damaged")
    (line,) = send(workspace)
    assert line.startswith("the daily digest was not sent: ") and line.endswith("; the next run tries again")
    assert kept.messages == []


def test_without_a_webhook_nothing_is_recorded(digested, monkeypatch):
    monkeypatch.delenv("PHYGITALS_DIGEST_WEBHOOK")
    workspace = Workspace.open()
    assert send(workspace) == []
    assert workspace.data.records.load("digest", dict) is None


@pytest.mark.parametrize("url", [f"http://hooks.example/{SECRET}", SECRET])
def test_a_url_that_is_not_allowed_is_refused_and_not_shown(url, configure):
    configure(digest_webhook=url)
    with pytest.raises(SettingsError, match="PHYGITALS_DIGEST_WEBHOOK=the value .not shown. is refused") as caught:
        Settings.load()
    assert SECRET not in str(caught.value)
