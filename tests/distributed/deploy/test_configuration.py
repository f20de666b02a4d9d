"""The example configuration of a distributed deployment, read by what will read it."""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy
import yaml
from dagster._core.test_utils import create_run_for_test
from dagster_postgres.storage import DagsterPostgresStorage

from pipeline.orchestration.celery_launcher import CeleryLauncher
from pipeline.orchestration.retention import prune
from pipeline.settings import PROJECT_ROOT
from tests.support.fleet import DAEMON, DEPLOY, WEBSERVER, WORKER, new_history
from tests.support.postgresql import OWNERS_PASSWORD
from tests.support.redis import PASSWORD

CELERY = DEPLOY / "dagster.yaml"
KUBERNETES = DEPLOY / "kubernetes" / "dagster.yaml"
LAPTOP = PROJECT_ROOT / "dagster_home" / "dagster.yaml"
ENVIRONMENT = DEPLOY / "env.example"


def read(path: Path) -> dict:
    configuration: dict = yaml.safe_load(path.read_text(encoding="utf-8"))
    return configuration


def environment_variables(configuration: object) -> set[str]:
    """The variables that a configuration takes values from."""
    if isinstance(configuration, dict):
        named = {configuration["env"]} if set(configuration) == {"env"} else set()
        return named.union(*map(environment_variables, configuration.values()))
    return set().union(*map(environment_variables, configuration)) if isinstance(configuration, list) else set()


def worker_module() -> list[str]:
    return [sys.executable, "-m", "celery", "-A", "pipeline.orchestration.celery_worker", "report"]


def refusal() -> str:
    """What a worker that does not start says at its end, from this process, which spares seconds of imports."""
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("pipeline.orchestration.celery_worker")
    assert isinstance(ended.value.code, str)
    return ended.value.code


def test_the_configuration_starts_runs_by_celery_and_keeps_the_history_in_postgresql(fleet, broker):
    fleet.use("office")
    with dg.DagsterInstance.get() as instance:
        launcher = instance.run_launcher
        assert isinstance(launcher, CeleryLauncher)
        assert isinstance(instance.get_ref().storage, DagsterPostgresStorage)
        assert launcher.celery.conf.broker_url == launcher.celery.conf.result_backend == broker.url
        assert [queue.name for queue in launcher.celery.conf.task_queues] == [launcher.default_queue]
        assert instance.run_monitoring_max_resume_run_attempts == 0
        assert not instance.run_retries_retry_on_asset_or_op_failure
    assert not (fleet.use("office") / "production" / "history").exists()


def test_a_worker_has_the_application_of_the_launcher(fleet):
    fleet.use("worker")
    shown = subprocess.run(worker_module(), capture_output=True, text=True, cwd=PROJECT_ROOT, check=True).stdout
    assert "worker_concurrency: 1" in shown and "'visibility_timeout': 43200" in shown
    assert "worker_disable_prefetch: True" in shown
    assert PASSWORD not in shown


def test_two_environments_have_histories_of_their_own(fleet, database, monkeypatch):
    fleet.use("office")
    with dg.DagsterInstance.get() as instance:
        run = create_run_for_test(instance, job_name="refresh")
        assert [found.run_id for found in instance.get_runs()] == [run.run_id]
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", new_history(database))
    assert fleet.runs() == []


def test_old_runs_are_pruned_from_postgresql(fleet):
    fleet.use("office")
    with dg.DagsterInstance.get() as instance:
        for status in (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.STARTED):
            run = create_run_for_test(instance, job_name="refresh", status=status)
            instance.report_engine_event("an event", run)
        assert prune(instance, 0, lambda _line: None).runs == 1
        (kept,) = instance.get_runs()
        assert kept.status is dg.DagsterRunStatus.STARTED
        with fleet.database.connect(os.environ["DAGSTER_POSTGRES_URL"].rpartition("/")[2]) as connection:
            assert connection.execute("SELECT count(DISTINCT run_id) FROM event_logs").fetchall() == [(1,)]


@pytest.mark.parametrize("variable", ["DAGSTER_POSTGRES_URL", "DAGSTER_REDIS_URL"])
def test_a_worker_without_one_of_the_variables_says_so_in_one_line(fleet, monkeypatch, variable):
    fleet.use("worker")
    monkeypatch.delenv(variable)
    said = refusal()
    assert len(said.splitlines()) == 1
    assert said.startswith("the worker did not start: ") and variable in said


def test_a_worker_whose_login_to_postgresql_is_refused_names_no_password(fleet, monkeypatch, capfd, caplog):
    monkeypatch.setattr("dagster_postgres.utils.calculate_delay", lambda **_: 0)  # between six attempts
    fleet.use("worker")
    url = os.environ["DAGSTER_POSTGRES_URL"]
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", re.sub(r":[^:/]*@", ":wrong-geheim@", url))
    said = refusal()
    assert "authentication failed" in said and len(said.splitlines()) == 1
    shown = "".join((said, caplog.text, *capfd.readouterr()))
    assert "geheim" not in shown and OWNERS_PASSWORD not in shown


def test_a_worker_with_the_configuration_of_one_machine_says_what_to_copy():
    refused = subprocess.run(worker_module(), capture_output=True, text=True, cwd=PROJECT_ROOT)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].endswith("copy deploy/distributed/dagster.yaml to DAGSTER_HOME")


def test_celery_and_kubernetes_differ_in_the_launcher_alone():
    celery, kubernetes = read(CELERY), read(KUBERNETES)
    assert celery.pop("run_launcher") != kubernetes.pop("run_launcher")
    assert celery == kubernetes


def test_what_is_the_same_on_one_machine_is_the_same_on_several():
    laptop, celery = read(LAPTOP), read(CELERY)
    different = {key for key in laptop if laptop[key] != celery.get(key)}
    assert different == {"concurrency", "run_monitoring"}
    assert set(celery) - set(laptop) == {"storage", "run_launcher", "compute_logs"}


def test_the_example_environment_has_each_variable_and_no_secret():
    lines = [line.removeprefix("#") for line in ENVIRONMENT.read_text().splitlines() if re.match(r"#?[A-Z_]+=", line)]
    given = dict(line.split("=", 1) for line in lines)
    assert environment_variables(read(CELERY)) <= set(given)
    assert environment_variables(read(KUBERNETES)) - {"DAGSTER_CURRENT_IMAGE"} <= set(given)
    assert not given["PHYGITALS_API_KEY"] and not given["AWS_SECRET_ACCESS_KEY"]
    assert ":PASSWORD@" in given["DAGSTER_POSTGRES_URL"] and ":PASSWORD@" in given["DAGSTER_REDIS_URL"]


def test_the_store_takes_the_lifecycle_rule(s3_server, lake_url):
    """The test's server checks the form of a rule as Amazon S3 does."""
    boto3 = pytest.importorskip("boto3")
    bucket = lake_url.split("/")[2]
    client = boto3.client("s3")
    rules = json.loads((DEPLOY / "lifecycle.json").read_text())
    client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rules)
    (rule,) = client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert rule["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert rule["Status"] == "Enabled" and "Expiration" not in rule


def test_the_addresses_of_the_example_environment_are_complete(fleet, monkeypatch):
    """Celery refuses an encrypted address without a rule for certificates."""
    given = dict(re.findall(r"^(DAGSTER_\w+)=(.*)$", ENVIRONMENT.read_text(), re.MULTILINE))
    monkeypatch.setenv("DAGSTER_REDIS_URL", given["DAGSTER_REDIS_URL"])
    fleet.use("office")
    with dg.DagsterInstance.get() as instance:
        launcher = instance.run_launcher
        assert isinstance(launcher, CeleryLauncher)
        assert launcher.celery.backend.connparams["ssl_cert_reqs"] == ssl.CERT_REQUIRED
    url = sqlalchemy.make_url(given["DAGSTER_POSTGRES_URL"])
    assert (url.drivername, url.query) == ("postgresql+psycopg2", {"sslmode": "verify-full"})


def test_a_run_of_which_redis_knows_nothing_is_not_taken_for_dead(fleet):
    fleet.use("office")
    with dg.DagsterInstance.get() as instance:
        run = create_run_for_test(instance, job_name="refresh", tags={"dagster-celery/task_id": "lost"})
        of_command_line = create_run_for_test(instance, job_name="refresh")
        for found in (run, of_command_line):
            assert instance.run_launcher.check_run_worker_health(found).status.value == "RUNNING"


def lines_of(unit: Path, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)


def test_the_worker_is_confined_as_the_daemon_is():
    confined = [
        re.findall(r"^(?:UMask|Protect.*)=.*(?:\n.+)*", unit.read_text(), re.MULTILINE) for unit in (WORKER, DAEMON)
    ]
    assert confined[0] and confined[0] == confined[1]
    for key in ("User", "WorkingDirectory", "Environment"):
        assert lines_of(WORKER, key) == lines_of(DAEMON, key)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (Debian's package systemd)")
def test_systemd_accepts_the_worker_with_its_environment(tmp_path):
    installed, units = tmp_path / "srv", tmp_path / "units"
    (installed / ".venv" / "bin").mkdir(parents=True)
    environment = tmp_path / "environment"
    shutil.copy(ENVIRONMENT, environment)
    added = (DEPLOY / "phygitals-environment.conf").read_text().replace("/etc/phygitals/environment", str(environment))
    (units / "phygitals-.service.d").mkdir(parents=True)
    (units / "phygitals-.service.d" / "environment.conf").write_text(added)
    for unit in (WORKER, DAEMON, WEBSERVER):
        text = unit.read_text().replace("/srv/phygitals", str(installed))
        (units / unit.name).write_text(text)
        program = Path(lines_of(units / unit.name, "ExecStart")[0].split()[0])
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        command = ["systemd-analyze", "verify", "--no-pager", str(units / unit.name)]
        searched = {**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:"}
        verified = subprocess.run(command, capture_output=True, text=True, env=searched)
        assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=25", "--no-pager", str(WORKER)],
        capture_output=True,
        text=True,
    )
    assert judged.returncode == 0, judged.stdout[-300:] + judged.stderr
