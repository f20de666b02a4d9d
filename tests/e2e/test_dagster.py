"""The Dagster side: what the UI shows, what starts runs, and real runs in processes of their own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from datetime import timedelta

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from dagster import DagsterEventType
from dagster._core.storage.tags import REPOSITORY_LABEL_TAG

from pipeline.cli.refresh import RefreshError, run_refresh
from pipeline.clock import now
from pipeline.definitions import defs
from pipeline.orchestration import automation
from pipeline.orchestration import instance as instance_module
from pipeline.orchestration import publish as publish_module
from pipeline.orchestration.command_line_runs import is_from_command_line, is_started_by_dagster
from pipeline.orchestration.instance import recorded_runs
from pipeline.quality.checker import CHECKS
from pipeline.quality.findings import Finding
from pipeline.schema import PUBLISHED
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.schema.staging import PULLS
from pipeline.settings import PROJECT_ROOT
from pipeline.simulator.server import PENDING, Reply, Simulator
from pipeline.steps import Workspace
from tests.support.asset_groups import GROUPS
from tests.support.dagster_runs import EXECUTE, execute, requested, skipped, tick
from tests.support.lake import assert_secret_is_nowhere, derive_wrongly
from tests.support.polling_process import Arrivals
from tests.support.workspace import KEY, drop, lake_rows, refresh, rows


def specs() -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


def test_every_asset_is_in_its_group_and_starts_with_its_grain():
    grouped: dict[str, set[str]] = {}
    for name, spec in specs().items():
        grouped.setdefault(str(spec.group_name), set()).add(name)
        assert spec.owners and spec.kinds
        assert str(spec.description).startswith("One ")
    assert grouped == GROUPS


def test_the_lineage_leads_from_the_inbox_to_the_warehouse():
    deps = {name: {dep.asset_key.to_user_string() for dep in spec.deps} for name, spec in specs().items()}
    assert deps["pending_sessions"] == {"session_submissions"}
    assert deps["status_responses"] == {"pending_sessions"}
    assert deps["purchases"] == {"session_submissions", "status_responses"}
    assert deps["pulls"] == {"status_responses", "purchases"}
    assert deps["warehouse"] == {table.name for table in PUBLISHED}
    assert deps["report"] == {"warehouse"}


def test_every_check_is_an_asset_check():
    keys = {(key.asset_key.to_user_string(), key.name) for key in defs.resolve_asset_graph().asset_check_keys}
    of_tables = {(check.table.name, check.name) for check in CHECKS}
    assert keys == of_tables | {("warehouse", "equals_the_lake")}


def test_the_schedule_and_the_sensor_run_by_default():
    schedule, sensor = defs.resolve_schedule_def("daily_refresh"), defs.resolve_sensor_def("inbox_sensor")
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 2 * * *", "UTC")
    assert sensor.default_status is dg.DefaultSensorStatus.RUNNING


def test_the_sensor_asks_for_one_run_for_the_same_new_files(api):
    api(Simulator(delay_scale=0, hold=0))
    workspace = Workspace.open()
    assert isinstance(tick(), dg.SkipReason)
    drop(workspace, "a.txt", "one\n")
    first, again = requested(), requested()
    assert first.run_key == again.run_key
    drop(workspace, "b.txt", "two\n")
    assert requested().run_key != first.run_key
    workspace.take_in()
    assert isinstance(tick(), dg.SkipReason)


def test_while_a_run_is_under_way_the_sensor_waits(api, unfinished_run):
    api(Simulator(hold=0))
    workspace = Workspace.open()
    drop(workspace, "a.txt", "one\n")
    assert isinstance(tick(), dg.RunRequest)
    with workspace.data.exclusive():
        assert "in progress; new files in the inbox: 1" in skipped()
    instance, _ = unfinished_run
    assert "in progress" in skipped(instance)


def test_a_file_whose_name_is_no_text_starts_a_run_and_is_read(api):
    api(Simulator(delay_scale=0, hold=0))
    workspace = Workspace.open()
    (workspace.data.inbox / os.fsdecode(b"M\xe4rz.txt")).write_text("one\n")
    request = requested()
    assert request.tags["inbox"] == "M?rz.txt"
    with recorded_runs() as instance:
        instance.create_run_for_job(defs.resolve_job_def("refresh"), tags=request.tags)
        chosen = [dg.AssetKey(name) for name in ("session_submissions", "status_responses", "purchases")]
        assert defs.resolve_job_def("refresh").execute_in_process(instance=instance, asset_selection=chosen).success
    assert lake_rows(workspace, "SELECT source_file FROM purchases") == [("M?rz.txt",)]
    assert isinstance(tick(), dg.SkipReason)


def test_the_sensor_says_what_is_wrong_with_the_settings(configure):
    configure(poll_budget="soon")
    assert "PHYGITALS_POLL_BUDGET" in skipped()


def test_definitions_load_whatever_the_settings_are(configure):
    configure(daily_cron="never", env="nowhere")
    program = "import pipeline.definitions as d; print(d.defs.resolve_schedule_def('daily_refresh').cron_schedule)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0 2 * * *"


def test_the_job_runs_from_the_project_root_and_leaves_the_key_nowhere(api, configure, tmp_path):
    scripts = {f"gone{i}": [Reply.json({"error": f"bad {KEY}"}, 404)] for i in range(3)}
    scripts |= {"odd": [Reply.json([KEY])], "slow": [PENDING]}
    api(Simulator(delay_scale=0, hold=0, fault_rate=0.1, scripts=scripts))
    configure(poll_budget=1)
    workspace = Workspace.open()
    drop(workspace, "a.csv", "session_id,colour\n" + "".join(f"s{i},red\n" for i in range(30)) + "s1,blue\n,red\n")
    drop(workspace, "b.txt", "\n".join(scripts))
    drop(workspace, "c.csv", "nothing,here\n")
    done = execute()
    assert done.returncode == 0, done.stderr
    assert "a.csv: 32 rows read = 30 accepted + 1 duplicates + 1 rejected" in done.stderr
    assert "a.csv: ignored columns: colour" in done.stderr
    assert "c.csv: rejected whole, its header has no column session_id" in done.stderr
    assert rows(workspace, "SELECT status, count(*) FROM purchases WHERE session_id[1] <> 's' GROUP BY 1") == [
        ("pending", 4)
    ]
    assert KEY not in done.stdout + done.stderr
    assert_secret_is_nowhere(workspace.data.root)
    assert_secret_is_nowhere(tmp_path / "dagster_home")
    materialized = materialization_of("session_submissions")
    counts = ("files_read", "files_rejected", "rows_read", "accepted", "duplicates", "rejected")
    assert [materialized.metadata[count].value for count in counts] == [3, 1, 37, 35, 1, 1]
    files = materialized.metadata["files"]
    assert isinstance(files, dg.TableMetadataValue)
    by_file = {record.data["source_file"]: record.data for record in files.records}
    assert {name: [file[count] for count in counts[2:]] for name, file in by_file.items()} == {
        "a.csv": [32, 30, 1, 1],
        "b.txt": [5, 5, 0, 0],
        "c.csv": [0, 0, 0, 0],
    }
    assert "no column session_id" in str(by_file["c.csv"]["refused_because"])
    assert materialization_of("purchases").metadata["dagster/row_count"].value == 35


def materialization_of(asset: str) -> dg.AssetMaterialization:
    with dg.DagsterInstance.get() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(asset))
        assert event is not None and event.asset_materialization is not None
        return event.asset_materialization


def test_a_refused_key_fails_the_run_with_what_to_do_and_without_the_key(api, tmp_path):
    simulator = api(Simulator(hold=0))
    simulator.key = "another"
    workspace = Workspace.open()
    drop(workspace, "a.txt", "one\n")
    done = execute()
    assert done.returncode != 0
    assert "Failure: " in done.stderr
    assert "refused the API key with HTTP 401" in done.stderr
    assert KEY not in done.stdout + done.stderr
    assert_secret_is_nowhere(workspace.data.root)
    assert_secret_is_nowhere(tmp_path / "dagster_home")
    assert not workspace.data.warehouse.exists()


def test_definitions_of_wrong_settings_fail_a_run_with_the_setting(configure):
    configure(env="nowhere")
    done = execute()
    assert done.returncode != 0
    assert "PHYGITALS_ENV='nowhere' is refused" in done.stderr


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"env": "production"}, "PHYGITALS_API_KEY is not set"),
        (
            {"env": "production", "api_key": "k" * 20, "api_url": "http://127.0.0.1:9"},
            "http://127.0.0.1:9/api/v1/vm/buy/status cannot be reached",
        ),
    ],
)
def test_what_stops_a_run_is_said_in_its_failure(settings, words, configure):
    configure(**settings, poll_budget=0.5, poll_interval=0.1)
    if "api_url" in settings:
        drop(Workspace.open(), "a.txt", "one\n")
    done = defs.resolve_job_def("refresh").execute_in_process(raise_on_error=False)
    (failure,) = done.get_step_failure_events()
    assert words in failure.step_failure_data.error_display_string


def test_runs_are_recorded_in_the_project_unless_dagster_home_says_where(tmp_path, monkeypatch):
    monkeypatch.delenv("DAGSTER_HOME")
    monkeypatch.setattr(instance_module, "PROJECT_ROOT", tmp_path)
    configuration = tmp_path / "dagster_home" / "dagster.yaml"
    own = configuration.read_text()
    shutil.rmtree(configuration.parent)
    with recorded_runs() as instance:
        assert instance.root_directory == str(tmp_path / "dagster_home" / "local")
    assert configuration.read_text() == own


def test_a_run_that_is_terminated_keeps_what_came(api, configure):
    arrivals = Arrivals(wanted=40)
    api(Simulator(delay_scale=0, hold=0, on_request=arrivals))
    configure(requests_per_second=30)
    workspace = Workspace.open()
    drop(workspace, "a.txt", "\n".join(f"s{i}" for i in range(300)))
    process = subprocess.Popen(EXECUTE, stderr=subprocess.PIPE, text=True, cwd=PROJECT_ROOT, env=os.environ)
    assert arrivals.reached.wait(120)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert list(workspace.data.journal(STATUS_RESPONSES).iterdir()) == []
    assert list(workspace.data.root.glob("raw/status_responses/*/*.parquet")) != []
    assert "DagsterExecutionInterruptedError" in errors


def test_a_published_file_that_does_not_hold_what_the_lake_holds_is_not_to_be_relied_on(api, monkeypatch):
    api(Simulator(delay_scale=0, hold=0))
    drop(Workspace.open(), "a.txt", "one\n")
    monkeypatch.setattr(publish_module, "disagreements", lambda _data: Finding(1, ["pulls: another count"]))
    with pytest.raises(RefreshError, match="do not rely on the published file; run `phygitals rebuild`"):
        run_refresh(lambda _line: None, lambda _progress: None)


def test_a_run_of_the_command_line_is_among_the_runs_of_the_job_and_no_daemon_can_start_it(api):
    api(Simulator(hold=0)).key = "another"
    drop(Workspace.open(), "a.txt", "one\n")
    with pytest.raises(RefreshError):
        run_refresh(lambda _line: None, lambda _progress: None)
    (location,) = yaml.safe_load((PROJECT_ROOT / "workspace.yaml").read_text())["load_from"]
    label = f"__repository__@{location['python_module']['location_name']}"
    with dg.DagsterInstance.get() as instance:
        (run,) = instance.get_runs(dg.RunsFilter(job_name="refresh", tags={REPOSITORY_LABEL_TAG: label}))
    assert run.is_failure
    assert is_from_command_line(run) and not is_started_by_dagster(run)
    assert run.job_code_origin is None  # without which Dagster launches and resumes no run


def test_files_that_are_still_unread_in_an_hour_are_asked_for_again(api, monkeypatch):
    api(Simulator(hold=0))
    drop(Workspace.open(), "a.txt", "one\n")
    first = requested()
    monkeypatch.setattr(automation, "now", lambda: now() + timedelta(hours=1))
    assert requested().run_key != first.run_key


def test_nothing_is_built_on_a_table_that_fails_a_blocking_check_and_the_command_says_so(api):
    api(Simulator(delay_scale=0, hold=0))
    workspace = Workspace.open()
    drop(workspace, "a.txt", "one\ntwo\n")
    refresh(workspace)
    published = workspace.data.warehouse.read_bytes()
    ((day, (path,)),) = workspace.data.store.parts(PULLS).items()
    pulls = pq.read_table(path)
    derive_wrongly(workspace.data, PULLS, day, pa.concat_tables([pulls, pulls]).to_batches())
    with pytest.raises(RefreshError, match="pulls fails its check .*: nothing was published; the published file is"):
        run_refresh(lambda _line: None, lambda _progress: None)
    with recorded_runs() as instance:
        (run,) = instance.get_runs(limit=1)
        events = instance.all_logs(run.run_id, of_type=DagsterEventType.ASSET_MATERIALIZATION)
        keys = {entry.get_dagster_event().asset_key for entry in events}
        built = {key.to_user_string() for key in keys if key is not None}
    assert {"purchases", "pulls"} <= built
    assert built.isdisjoint({"items", "item_types", "data_issues", "warehouse", "report"})
    assert workspace.data.warehouse.read_bytes() == published
