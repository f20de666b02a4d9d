"""The examples for a server: the daemon and the webserver as two services on one instance, from start to stop."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import get_args

import dagster as dg
import pytest
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from pipeline.cli.refresh import RefreshError, run_refresh
from pipeline.clock import now
from pipeline.orchestration.instance import upgrade_all
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.settings import PROJECT_ROOT, Environment
from pipeline.simulator.server import Simulator
from pipeline.steps import Workspace
from tests.support.command_line import assert_one_line_error, phygitals_here
from tests.support.polling_process import Arrivals
from tests.support.processes import free_port, is_served, living, started, wait_until
from tests.support.workspace import drop, rows

DEPLOY = PROJECT_ROOT / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
PROCFILE = dict(line.split(": ", 1) for line in (DEPLOY / "Procfile").read_text().splitlines())
INSTALLED = "/srv/phygitals/"
AT_MIDNIGHT = "0 0 * * *"
# What Dagster says of itself on a fresh instance; all other warnings are somebody's mistake.
OF_DAGSTER = re.compile("No cursor for event type")

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to find orphans")


def lines_of(unit: Path, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)


def command_of(unit: Path) -> str:
    """What the unit starts, relative to the folder that it is installed in."""
    (command,) = lines_of(unit, "ExecStart")
    assert command.startswith(INSTALLED)
    return command.removeprefix(INSTALLED)


def here(command: str, port: int) -> list[str]:
    """The same with this project's Python, on a free port."""
    program, *arguments = shlex.split(command)
    scripts = Path(sys.executable).parent
    return [str(scripts / Path(program).name), *(str(port) if word == "3000" else word for word in arguments)]


@pytest.fixture
def home(monkeypatch):
    """A DAGSTER_HOME with its databases made, as `make setup` leaves it."""
    with monkeypatch.context() as patch:
        patch.setenv("PHYGITALS_ENV", "local")  # changed within, and restored at the end of the block
        upgrade_all()
    return Path(os.environ["DAGSTER_HOME"])


def runs(tag: str) -> list[dg.DagsterRun]:
    with dg.DagsterInstance.get() as instance:
        return [run for run in instance.get_runs() if tag in run.tags]


def test_the_procfile_starts_what_the_units_start():
    started_by = {name: line.split(" exec ")[1] for name, line in PROCFILE.items()}
    assert started_by == {unit.stem.removeprefix("phygitals-"): command_of(unit) for unit in UNITS}


@pytest.mark.parametrize("name", PROCFILE)
def test_the_procfile_starts_both_on_the_projects_instance_unless_dagster_home_names_another(name, tmp_path):
    line = PROCFILE[name].split(" exec ")[0] + " exec printenv DAGSTER_HOME"
    for given, found in (({}, f"{tmp_path}/dagster_home"), ({"DAGSTER_HOME": "/elsewhere"}, "/elsewhere")):
        environment = {"PATH": os.environ["PATH"], **given}
        shown = subprocess.run(["sh", "-c", line], capture_output=True, text=True, cwd=tmp_path, env=environment)
        assert shown.stdout.strip() == found


def test_the_ui_of_a_server_listens_on_loopback():
    (webserver,) = [unit for unit in UNITS if "webserver" in unit.name]
    assert "-h 127.0.0.1 " in command_of(webserver)


def test_both_units_run_one_instance_and_read_one_set_of_settings():
    for key in ("WorkingDirectory", "Environment", "User"):
        assert len({tuple(lines_of(unit, key)) for unit in UNITS}) == 1


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_can_write_its_data_and_its_history_and_nothing_else(unit):
    assert lines_of(unit, "ProtectSystem") == ["strict"]
    (folder,) = lines_of(unit, "WorkingDirectory")
    (home,) = [line.removeprefix("DAGSTER_HOME=") for line in lines_of(unit, "Environment")]
    assert lines_of(unit, "ReadWritePaths") == [f"{folder}/data {home}"]
    assert lines_of(unit, "NoNewPrivileges") == ["yes"] and lines_of(unit, "CapabilityBoundingSet") == [""]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (Debian's package systemd)")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_finds_a_unit_little_exposed(unit):
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=25", "--no-pager", str(unit)]
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout[-300:] + judged.stderr
    assert "Unknown" not in judged.stderr


def test_setup_makes_the_history_of_each_environment():
    """Two services that make one at once damage it."""
    home = Path(os.environ["DAGSTER_HOME"])
    shown = subprocess.run(["make", "-n", "-B", "setup"], capture_output=True, text=True, cwd=PROJECT_ROOT, check=True)
    (made,) = [line for line in shown.stdout.splitlines() if "orchestration.instance" in line]
    arguments = shlex.split(made)[1:]
    subprocess.run([sys.executable, *arguments], cwd=PROJECT_ROOT, check=True, capture_output=True)
    for environment in get_args(Environment):
        assert {path.name for path in (home / environment / "history").glob("*.db")} >= {"runs.db"}
        assert (home / environment / "schedules" / "schedules.db").is_file()


def test_the_examples_and_the_guide_say_that_the_ui_has_no_login():
    texts = [(DEPLOY / "phygitals-webserver.service"), PROJECT_ROOT / "docs" / "how-to" / "server.md"]
    assert all("UI has no login" in text.read_text(encoding="utf-8") for text in texts)


def record_that_the_schedule_was_on_a_day_ago() -> None:
    """The daemon starts the run that it missed as it starts itself; one that is due later it finds once a minute."""
    target = LoadableTargetOrigin(module_name="pipeline.definitions")
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, location_name="phygitals")
    origin = RemoteInstigatorOrigin(
        repository_origin=RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME), instigator_name="daily_refresh"
    )
    data = ScheduleInstigatorData(AT_MIDNIGHT, (now() - timedelta(days=1)).timestamp())
    with dg.DagsterInstance.get() as instance:
        instance.add_instigator_state(
            InstigatorState(origin, InstigatorType.SCHEDULE, InstigatorStatus.DECLARED_IN_CODE, data)
        )


def timeline(port: int) -> dict[tuple[str, ...], set[str]]:
    """The ids of the ended runs in each row of the UI's timeline, which leaves out runs without an origin."""
    names = "repositoryOrigin { repositoryLocationName repositoryName }"
    ended = "runsOrError(filter: {statuses: [SUCCESS, FAILURE, CANCELED]})"
    query = json.dumps({"query": f"{{ {ended} {{ ... on Runs {{ results {{ id pipelineName {names} }} }} }} }}"})
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql", query.encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        found = json.load(answer)["data"]["runsOrError"]["results"]
    rows: dict[tuple[str, ...], set[str]] = {}
    for run in found:
        if origin := run["repositoryOrigin"]:
            row = (origin["repositoryLocationName"], origin["repositoryName"], run["pipelineName"])
            rows.setdefault(row, set()).add(run["id"])
    return rows


def test_a_server_starts_refreshes_on_schedule_beside_those_of_the_command_line_and_stops_without_orphans(
    api, configure, home, tmp_path
):
    api(Simulator(delay_scale=0, hold=0))
    configure(daily_cron=AT_MIDNIGHT)
    workspace = Workspace.open()
    with workspace.data.exclusive(), pytest.raises(RefreshError):  # a refused run is short
        run_refresh(lambda _line: None, lambda _progress: None)
    (own,) = runs("writer")
    record_that_the_schedule_was_on_a_day_ago()
    drop(workspace, "a.txt", "one\ntwo\n")
    port = free_port()
    logs = {unit: tmp_path / f"{unit.stem}.log" for unit in UNITS}
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(started(here(command_of(unit), port), logs[unit])) for unit in UNITS]
        wait_until(lambda: is_served(f"http://127.0.0.1:{port}"), "the webserver answers")
        wait_until(
            lambda: any(run.is_success for run in runs("dagster/schedule_name")), "a scheduled refresh has succeeded"
        )
        assert rows(workspace, "SELECT count(*) FROM purchases WHERE status <> 'pending'") == [(2,)]
        (row,) = timeline(port).values()
        assert row > {own.run_id}
        for process in processes:
            process.terminate()
        wait_until(lambda: living(home) == [], f"nothing lives any more of {living(home)}")
        assert [process.wait() for process in processes] == [0, 0]
    said = "".join(log.read_text() for log in logs.values())
    assert [line for line in said.splitlines() if "warn" in line.lower() and not OF_DAGSTER.search(line)] == []


def test_a_daemon_that_is_stopped_while_a_run_polls_keeps_what_came_and_will_carry_on(api, configure, home, tmp_path):
    arrivals = Arrivals(wanted=40)
    api(Simulator(delay_scale=0, hold=0, on_request=arrivals))
    configure(requests_per_second=20, poll_budget=100)
    workspace = Workspace.open()
    drop(workspace, "a.txt", "\n".join(f"s{i}" for i in range(1000)))
    (daemon,) = (unit for unit in UNITS if "daemon" in unit.stem)
    with started(here(command_of(daemon), 0), tmp_path / "daemon.log") as process:
        assert arrivals.reached.wait(120)
        # What KillMode=control-group does.
        os.killpg(process.pid, signal.SIGTERM)
        wait_until(lambda: living(home) == [], f"nothing lives any more of {living(home)}")
    (run,) = runs("dagster/sensor_name")
    assert run.is_finished
    assert run.tags["dagster/will_retry"] == "true"
    assert list(workspace.data.journal(STATUS_RESPONSES).iterdir()) == []
    assert list(workspace.data.root.glob("raw/status_responses/*/*.parquet")) != []


def test_make_dev_is_the_command_dev():
    shown = subprocess.run(["make", "-n", "dev"], capture_output=True, text=True, cwd=PROJECT_ROOT, check=True).stdout
    assert ".venv/bin/phygitals dev\n" in shown


def test_the_port_of_the_ui_is_refused_while_another_program_has_it():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = phygitals_here("dev", "--port", str(port))
    assert_one_line_error(refused, f"127.0.0.1:{port} cannot be used", "choose another --port")
