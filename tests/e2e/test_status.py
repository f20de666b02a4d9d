"""What `phygitals status` says to people and monitors, of real runs in Dagster's history."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat

from pipeline.cli import status as status_module
from pipeline.cli.refresh import RefreshError, run_refresh
from pipeline.cli.status import Status, status_of
from pipeline.clock import now
from pipeline.definitions import defs
from pipeline.orchestration import dead_runs
from pipeline.orchestration.instance import recorded_runs
from pipeline.orchestration.run_history import DATA_DIRECTORY
from pipeline.schema.findings import DATA_ISSUES
from pipeline.settings import PROJECT_ROOT
from pipeline.simulator.server import PENDING, Simulator
from pipeline.steps import Workspace
from tests.support.command_line import phygitals, phygitals_here
from tests.support.json_schemas import described
from tests.support.workspace import KEY, derive, drop, lake_rows, refresh, rows


def run() -> None:
    """The job, in this process."""
    run_refresh(lambda _line: None, lambda _progress: None)


def run_after_publishing() -> None:
    """A run of the job that finds everything published: one that publishes draws the report, which takes longest."""
    refresh(Workspace.open())
    chosen = [dg.AssetKey(name) for name in ("session_submissions", "warehouse")]
    with recorded_runs() as instance:
        assert defs.resolve_job_def("refresh").execute_in_process(instance=instance, asset_selection=chosen).success


def status() -> Status:
    return status_of(Workspace.open_for_reading())


def reasons() -> list[str]:
    return [need.reason for need in status().needs_person]


def files_below(*folders: Path) -> dict[Path, tuple[int, int]]:
    found = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in found}


@pytest.fixture
def slow(copy_of, configure):
    """One session that stays pending, after a real run."""

    def build(workspace: Workspace) -> None:
        configure(poll_budget=0.3)
        drop(workspace, "a.txt", "slow\nfast\n")
        run_after_publishing()

    copy_of("slow", lambda: Simulator(delay_scale=0, hold=0, scripts={"slow": [PENDING]}), build)
    configure(poll_budget=0.3)


@pytest.fixture
def waiting_run(api):
    """A run of the job that was created here, and its instance."""
    api(Simulator(hold=0))
    with recorded_runs() as instance:
        tags = {DATA_DIRECTORY: str(Workspace.open().data.root)}
        yield instance, instance.create_run_for_job(defs.resolve_job_def("refresh"), tags=tags)


def test_without_a_history_it_says_unknown_and_needs_nobody():
    shown = phygitals_here("status")
    assert shown.returncode == 0, shown.stderr
    assert "Nothing needs a person." in shown.stdout
    assert "unknown: there is no run history in" in shown.stdout
    found = status()
    assert found.last_run is None and "no run history" in str(found.history_unknown_because)
    assert (found.schedules.state, found.sensors.state) == ("unknown", "unknown")


def test_after_a_run_it_says_what_dagster_recorded_and_what_was_published(slow):
    shown = phygitals_here("status", "--json")
    assert shown.returncode == 0, shown.stderr
    found = described(shown.stdout, "status")
    with recorded_runs() as instance:
        (record,) = instance.get_run_records()
    last = found["last_run"]
    assert (last["run_id"], last["result"]) == (record.dagster_run.run_id, "succeeded")
    assert record.start_time and record.end_time
    assert float(last["seconds"]) == pytest.approx(record.end_time - record.start_time, abs=0.01)
    assert last["ended_at"] == found["last_success_at"]
    assert found["published"]["purchases_by_status"] == {"fulfilled": 1, "pending": 1}
    workspace = Workspace.open_for_reading()
    counts = {table: rows(workspace, f"SELECT count(*) FROM {table}")[0][0] for table in found["published"]["rows"]}
    assert found["published"]["rows"] == counts
    assert (found["pending"]["sessions"], found["pending"]["longest"][0]["session_id"]) == (1, "slow")
    assert found["pending"]["oldest"] == found["pending"]["longest"][0]["submitted_at"]


def test_people_read_the_same(slow):
    shown = phygitals_here("status")
    assert shown.returncode == 0, shown.stderr
    for words in ("production", "1 session, the oldest since", "succeeded, started", ", took ", "2 purchases", "slow"):
        assert words in shown.stdout, words


def test_it_writes_nothing_and_needs_no_key(slow, monkeypatch):
    folders = Workspace.open().data.root, Path(os.environ["DAGSTER_HOME"])
    monkeypatch.delenv("PHYGITALS_API_KEY")
    before = files_below(*folders)
    assert phygitals("status", "--json").returncode == 0
    assert files_below(*folders) == before


def test_a_refused_key_needs_a_person_until_a_run_succeeds(api):
    simulator = api(Simulator(delay_scale=0, hold=0))
    simulator.key = "another"
    drop(Workspace.open(), "a.txt", "one\n")
    with pytest.raises(RefreshError) as failed:
        run()
    shown = phygitals_here("status", "--json")
    assert shown.returncode == 3, shown.stderr
    found = described(shown.stdout, "status")
    assert [need["reason"] for need in found["needs_person"]] == ["last_run_failed", "api_key_refused"]
    assert found["last_run"]["what_to_do"] == found["needs_person"][0]["message"] == str(failed.value)
    people = phygitals_here("status")
    assert people.returncode == 3
    assert people.stdout.startswith(f"Needs a person: {failed.value}\n")
    assert KEY not in shown.stdout + people.stdout
    simulator.key = KEY
    run_after_publishing()
    assert reasons() == []


def test_a_refused_key_is_known_without_a_history(api, tmp_path, monkeypatch):
    api(Simulator(delay_scale=0, hold=0)).key = "another"
    drop(Workspace.open(), "a.txt", "one\n")
    with pytest.raises(RefreshError):
        run()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "none"))
    assert reasons() == ["api_key_refused"]


def test_a_failed_run_needs_nobody_while_another_is_queued(waiting_run):
    instance, failed = waiting_run
    instance.report_run_failed(failed, "The machine was switched off.")
    assert reasons() == ["last_run_failed"]
    assert status().needs_person[0].message == "The machine was switched off."
    instance.create_run_for_job(defs.resolve_job_def("refresh"))
    last = status().last_run
    assert last is not None and last.result == "queued"
    assert reasons() == []


def test_a_run_that_was_refused_beside_another_needs_nobody_while_that_goes_on_and_after_it_succeeded(waiting_run):
    refresh(Workspace.open())
    instance, writing = waiting_run
    instance.handle_run_event(writing.run_id, dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, writing.job_name))
    refused = instance.create_run_for_job(defs.resolve_job_def("refresh"))
    with Workspace.open().data.exclusive():
        instance.report_run_failed(refused, "another run is writing")
        assert (last := status().last_run) and (last.run_id, last.result) == (writing.run_id, "running")
        assert reasons() == []
    instance.handle_run_event(writing.run_id, dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, writing.job_name))
    assert (last := status().last_run) and (last.run_id, last.result) == (writing.run_id, "succeeded")
    assert reasons() == []


def test_a_run_whose_process_died_says_what_to_do_once_it_is_found(waiting_run, monkeypatch):
    instance, begun = waiting_run
    instance.handle_run_event(begun.run_id, dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, begun.job_name))
    assert (last := status().last_run) and last.result == "unfinished"
    with Workspace.open().data.exclusive():
        assert (last := status().last_run) and last.result == "running"
    monkeypatch.setattr(dead_runs, "now", lambda: now() + timedelta(hours=2))
    assert dead_runs.fail_dead_runs(instance) == [begun.run_id]
    assert (last := status().last_run) and "Run `phygitals refresh` again" in str(last.what_to_do)
    assert reasons() == ["last_run_failed"]


def test_runs_of_another_data_directory_are_not_its_own(slow, tmp_path, monkeypatch):
    monkeypatch.setenv("PHYGITALS_DATA_DIR", str(tmp_path / "other"))
    found = status()
    assert (found.last_run, found.last_success_at, found.needs_person) == (None, None, [])


def test_pending_sessions_need_a_person_when_no_run_has_succeeded_for_two_periods(slow, monkeypatch):
    for hours, expected in ((48, []), (50, ["no_recent_success"])):
        monkeypatch.setattr(status_module, "now", lambda later=hours: now() + timedelta(hours=later))
        assert reasons() == expected
    assert "for 2.1 days" in status().needs_person[0].message


def test_without_pending_sessions_an_old_success_needs_nobody(waiting_run, monkeypatch):
    refresh(Workspace.open())
    instance, begun = waiting_run
    for event in (dg.DagsterEventType.RUN_START, dg.DagsterEventType.RUN_SUCCESS):
        instance.handle_run_event(begun.run_id, dg.DagsterEvent(event.value, begun.job_name))
    assert (last := status().last_run) and last.result == "succeeded"
    monkeypatch.setattr(status_module, "now", lambda: now() + timedelta(days=30))
    assert reasons() == []


@pytest.mark.parametrize("name", ["a.parquet", "sub/b.jsonl"])
def test_a_file_that_was_rejected_whole_needs_a_person_until_it_is_gone(api, name):
    api(Simulator(delay_scale=0, hold=0))
    workspace = Workspace.open()
    file = drop(workspace, name, b"\xff\xfe\x00broken")
    drop(workspace, "good.txt", "one\n")
    workspace.take_in()
    (need,) = status().needs_person
    assert need.reason == "file_rejected"
    assert need.message.startswith(f"inbox/{name}: rejected whole, ")
    file.unlink()
    assert reasons() == []


def test_a_packs_file_that_is_rejected_whole_needs_a_person_until_it_is_corrected(api):
    workspace = Workspace.open()
    workspace.data.packs_file.parent.mkdir(parents=True)
    workspace.data.packs_file.write_text("pack_id,price_usd\np1,5\n")
    assert reasons() == []
    workspace.data.packs_file.write_text("name\n")
    (need,) = status().needs_person
    assert need.reason == "file_rejected"
    assert need.message.startswith("reference/packs.csv: rejected whole, ")


def test_rejected_rows_need_nobody(api):
    api(Simulator(delay_scale=0, hold=0))
    workspace = Workspace.open()
    drop(workspace, "a.csv", "session_id,price_usd\none,cheap\n")
    derive(workspace, DATA_ISSUES)
    assert lake_rows(workspace, "SELECT count(*) FROM data_issues") != [(0,)]
    assert reasons() == []


def test_a_published_file_that_is_gone_although_a_run_succeeded_needs_a_person(slow):
    Workspace.open().data.warehouse.unlink()
    assert reasons() == ["published_file_missing"]
    run_after_publishing()
    assert reasons() == []


def test_the_daemons_reports_say_whether_schedules_and_sensors_run(waiting_run):
    instance, _ = waiting_run
    assert (status().schedules.state, status().schedules.last_seen_at) == ("stopped", None)
    seen = now() - timedelta(seconds=30)
    instance.add_daemon_heartbeat(DaemonHeartbeat(seen.timestamp(), "SCHEDULER", None))
    instance.add_daemon_heartbeat(DaemonHeartbeat((seen - timedelta(hours=1)).timestamp(), "SENSOR", None))
    found = status()
    assert (found.schedules.state, found.sensors.state) == ("running", "stopped")
    assert found.schedules.last_seen_at is not None
    assert abs(found.schedules.last_seen_at - seen) < timedelta(milliseconds=1)


def test_a_schedule_that_somebody_stopped_is_named(waiting_run):
    stop = [str(Path(sys.executable).with_name("dagster")), "schedule", "stop", "daily_refresh"]
    subprocess.run([*stop, "-m", "pipeline.definitions"], check=True, capture_output=True, cwd=PROJECT_ROOT)
    assert status().schedules.turned_off == ("daily_refresh",)
    assert status().sensors.turned_off == ()


def test_a_history_in_another_storage_is_unknown(slow):
    with (Path(os.environ["DAGSTER_HOME"]) / "dagster.yaml").open("a") as file:
        file.write("\nstorage:\n  mysql:\n    mysql_url: {env: HISTORY}\n")
    assert "in another storage" in str(status().history_unknown_because)


def test_a_history_that_cannot_be_read_is_unknown_and_the_rest_is_told(slow):
    for path in Path(os.environ["DAGSTER_HOME"]).rglob("runs.db"):
        path.write_bytes(b"no database" * 100)
    found = status()
    assert "cannot be read" in str(found.history_unknown_because)
    assert found.published is not None and found.pending.sessions == 1


def test_a_history_that_is_open_elsewhere_is_read(waiting_run):
    _, created = waiting_run
    (path,) = Path(os.environ["DAGSTER_HOME"]).rglob("runs.db")
    connection = sqlite3.connect(path)
    connection.execute("SELECT count(*) FROM runs").fetchone()
    assert (last := status().last_run) and last.run_id == created.run_id
    connection.close()


def test_status_and_its_json_load_no_dagster(slow):
    program = (
        "import sys; from pipeline.cli.status import status_of; from pipeline.steps import Workspace; "
        "assert status_of(Workspace.open_for_reading()).last_run; sys.exit('dagster' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
