"""What starts runs though no file came, how fresh assets must be, and that Dagster's own tools are content."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.freshness import TimeWindowFreshnessPolicy

from pipeline.clock import now
from pipeline.definitions import defs
from pipeline.orchestration import automation
from pipeline.orchestration.automation import inbox_sensor, pending_sensor
from pipeline.orchestration.freshness import freshness_policy
from pipeline.settings import PROJECT_ROOT
from pipeline.simulator.server import PENDING, Simulator
from pipeline.sources import inbox
from pipeline.sources.listing import Listing, listing
from pipeline.steps import Workspace
from pipeline.transform import due as due_module
from pipeline.transform.due import due, due_state
from tests.support.workspace import drop, refresh

AUTOMATION = ("daily_refresh", "weekly_prune", "inbox_sensor", "database_sensor", "pending_sensor", "failure_sensor")


class Ticks:
    """Evaluates the sensor again and again, with the cursor that it left, after `later`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cursor: str | None = None
        self._monkeypatch = monkeypatch

    def tick(
        self, later: timedelta = timedelta(), instance: dg.DagsterInstance | None = None
    ) -> dg.RunRequest | dg.SkipReason:
        self._monkeypatch.setattr(automation, "now", lambda: now() + later)
        with dg.DagsterInstance.ephemeral() as empty:
            context = dg.build_sensor_context(instance or empty, self.cursor)
            result = pending_sensor(context)
        assert isinstance(result, dg.RunRequest | dg.SkipReason)
        self.cursor = context.cursor
        return result

    def request(self, later: timedelta = timedelta()) -> dg.RunRequest:
        """Of a tick that asks for a run."""
        result = self.tick(later)
        assert isinstance(result, dg.RunRequest)
        return result


@pytest.fixture
def ticks(monkeypatch):
    return Ticks(monkeypatch)


@pytest.fixture
def pending(copy_of, configure):
    """A workspace after a refresh that left one session pending."""

    def build(opened: Workspace) -> None:
        workspace = Workspace(opened.settings.model_copy(update={"poll_budget": 0.3}), opened.data)
        drop(workspace, "a.txt", "slow\nfast\n")
        refresh(workspace)

    copy_of("pending", lambda: Simulator(delay_scale=0, hold=0, scripts={"slow": [PENDING]}), build)
    configure(poll_budget=0.3)
    return Workspace.open()


def test_every_schedule_and_sensor_is_on_and_explained():
    repository = defs.get_repository_def()
    definitions: list[dg.ScheduleDefinition | dg.SensorDefinition]
    definitions = [*repository.schedule_defs, *repository.sensor_defs]
    described = {d.name: d for d in definitions}
    assert set(described) == set(AUTOMATION)
    for name, definition in described.items():
        assert definition.default_status.value == "RUNNING", name
        assert len(str(definition.description)) > 80, name


def test_nothing_is_started_while_nothing_is_pending(api, ticks):
    api(Simulator(delay_scale=0, hold=0))
    assert ticks.tick().skip_message == "no session is pending"


def test_pending_sessions_start_a_run_a_quarter_of_an_hour_after_they_were_asked(pending, ticks):
    assert ticks.tick().skip_message == "1 sessions are pending, the first is due in 15 min"
    assert isinstance(ticks.tick(timedelta(minutes=14)), dg.SkipReason)
    asked_for = ticks.tick(timedelta(minutes=16))
    assert isinstance(asked_for, dg.RunRequest)
    assert asked_for.tags["pending_sessions"] == "1"


def test_one_run_is_asked_for_in_an_hour_also_after_a_restart(pending, ticks, monkeypatch):
    in_two_hours = (now() + timedelta(hours=2)).replace(minute=5) - now()
    first = ticks.request(in_two_hours)
    assert Ticks(monkeypatch).request(in_two_hours + timedelta(minutes=50)).run_key == first.run_key
    assert ticks.request(in_two_hours + timedelta(hours=1)).run_key != first.run_key


def test_a_run_that_asked_puts_the_next_one_off(pending, ticks):
    ticks.tick()
    refresh(pending)
    assert "due in 15 min" in str(ticks.tick().skip_message)


def test_the_longer_a_session_is_pending_the_longer_it_waits(api, configure, ticks):
    api(Simulator(delay_scale=0, hold=0, scripts={"slow": [PENDING]}))
    configure(poll_budget=0.3)
    workspace = Workspace.open()
    drop(workspace, "a.csv", f"session_id,initiated_at\nslow,{(now() - timedelta(hours=40)).isoformat()}\n")
    refresh(workspace)
    assert "due in 300 min" in str(ticks.tick().skip_message)


def test_a_session_that_a_failed_run_took_in_is_due(api, configure, ticks):
    simulator = api(Simulator(hold=0))
    simulator.key = "another"
    workspace = Workspace.open()
    drop(workspace, "a.txt", "one\n")
    result = defs.resolve_job_def("refresh").execute_in_process(raise_on_error=False)
    assert not result.success
    assert "1 sessions are pending" in str(ticks.tick().skip_message)
    assert isinstance(ticks.tick(timedelta(minutes=16)), dg.RunRequest)


def test_the_tables_are_read_only_when_a_run_has_changed_them(pending, ticks, monkeypatch):
    ticks.tick()
    monkeypatch.setattr(due_module, "connect", None)
    assert "1 sessions are pending" in str(ticks.tick().skip_message)


def test_a_new_record_of_sellbacks_starts_a_run_as_well(api):
    api(Simulator(hold=0))
    workspace = Workspace.open()
    with dg.DagsterInstance.ephemeral() as instance:
        assert isinstance(inbox_sensor(dg.build_sensor_context(instance)), dg.SkipReason)
        workspace.data.sellbacks.mkdir()
        (workspace.data.sellbacks / "a.csv").write_text("item_id,sold_at\na,2026-01-01\n")
        assert isinstance(inbox_sensor(dg.build_sensor_context(instance)), dg.RunRequest)
        workspace.take_in_sellbacks()
        assert isinstance(inbox_sensor(dg.build_sensor_context(instance)), dg.SkipReason)


def test_a_tick_of_the_inbox_sensor_lists_each_folder_once(api, monkeypatch):
    api(Simulator(hold=0))
    drop(Workspace.open(), "folder/a.txt", "one\n")
    listed = []

    def noted(folder: Path) -> Listing:
        listed.append(folder)
        return listing(folder)

    monkeypatch.setattr(inbox, "listing", noted)
    with dg.DagsterInstance.ephemeral() as instance:
        assert isinstance(inbox_sensor(dg.build_sensor_context(instance)), dg.RunRequest)
    data = Workspace.open().data
    assert listed == [data.inbox, data.sellbacks]


def test_a_run_under_way_is_not_joined_by_another(pending, ticks):
    later = timedelta(hours=1)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.create_run_for_job(defs.resolve_job_def("refresh"), status=dg.DagsterRunStatus.STARTED)
        assert ticks.tick(later, instance).skip_message == "a run is queued or in progress"
    with pending.data.exclusive():
        assert ticks.tick(later).skip_message == "a run is queued or in progress"


def test_the_pending_sensor_says_what_is_wrong_with_the_settings(ticks, configure):
    configure(poll_budget="soon")
    assert "PHYGITALS_POLL_BUDGET" in str(ticks.tick().skip_message)


def test_what_is_due_changes_with_the_tables_alone(pending):
    before = due_state(pending.data), due(pending.data)
    assert (due_state(pending.data), due(pending.data)) == before
    refresh(pending)
    assert due_state(pending.data) != before[0]


@pytest.mark.parametrize(
    ("cron", "warns_after", "fails_after"),
    [("0 2 * * *", 24 + 1.25, 48 + 1.25), ("*/30 * * * *", 0.5 + 1.25, 1 + 1.25), ("0 2 * * 1-5", 72 + 1.25, 145.25)],
)
def test_an_asset_is_late_when_the_schedule_has_passed_it_by(cron, warns_after, fails_after):
    policy = freshness_policy(cron, poll_budget=900)
    assert isinstance(policy, TimeWindowFreshnessPolicy)
    assert policy.warn_window is not None
    assert policy.warn_window.to_timedelta() == timedelta(hours=warns_after)
    assert policy.fail_window.to_timedelta() == timedelta(hours=fails_after)


def test_every_asset_has_a_freshness_policy():
    assert {spec.freshness_policy for spec in defs.resolve_all_asset_specs()} == {freshness_policy("0 2 * * *", 900)}


def test_an_error_that_nobody_foresaw_says_what_to_do_in_its_first_line(api, monkeypatch):
    api(Simulator(hold=0))
    drop(Workspace.open(), "a.txt", "one\n")
    monkeypatch.setattr(Workspace, "take_in", lambda self: [][1])
    result = defs.resolve_job_def("refresh").execute_in_process(raise_on_error=False)
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None and failure.user_failure_data.description is not None
    assert failure.user_failure_data.description.startswith(
        "IndexError: list index out of range (this is unexpected: start the run again"
    )
    assert failure.error is not None and failure.error.cause is not None
    assert failure.error.cause.cls_name == "IndexError"


def dg_tool(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("dg")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT_ROOT, timeout=200, check=False)


def test_dg_finds_nothing_to_say_of_the_definitions():
    done = dg_tool("check", "defs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All definitions loaded successfully" in done.stdout + done.stderr


def test_dg_lists_everything():
    listed = dg_tool("list", "defs", "--json")
    assert listed.returncode == 0, listed.stderr
    for name in (*AUTOMATION, "refresh", "prune_runs", "purchases", "warehouse"):
        assert f'"{name}"' in listed.stdout


def test_dg_launches_an_asset(api):
    api(Simulator(delay_scale=0, hold=0))
    drop(Workspace.open(), "a.txt", "one\n")
    done = dg_tool("launch", "--assets", "session_submissions")
    assert done.returncode == 0, done.stdout + done.stderr
    assert Workspace.open().take_in().files == []


def test_no_api_of_dagster_is_used_that_is_deprecated_or_may_change():
    """Every category of Dagster's own warnings, and Python's, ends the program."""
    program = "import warnings; warnings.simplefilter('error'); import dagster; {} import pipeline.definitions"
    lenient = "warnings.filterwarnings('ignore', module='(?!pipeline)');"
    done = subprocess.run([sys.executable, "-c", program.format(lenient)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
