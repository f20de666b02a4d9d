"""compose.yaml holds together: its services, the files that they mount, and the settings that its guide names."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from pipeline.settings import PROJECT_ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT_ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "phygitals-pipeline"]
GUIDE = (PROJECT_ROOT / "docs" / "how-to" / "container.md").read_text(encoding="utf-8")
(SETTINGS,) = re.findall(r"```text\n(COMPOSE_PROFILES=.*?)```", GUIDE, re.DOTALL)
ENVIRONMENT = dict(line.split("=", 1) for line in SETTINGS.splitlines())


def interpolated(text: str, environment: dict[str, str]) -> str:
    """A text of compose.yaml with its variables replaced, as Compose does."""
    return re.sub(r"\$\{(\w+):?-([^}]*)\}", lambda found: environment.get(found[1]) or found[2], text)


def test_a_profile_adds_what_runs_on_several_machines_and_nothing_else_needs_it():
    assert {name for name, service in SERVICES.items() if "profiles" not in service} == {
        "history",
        "daemon",
        "webserver",
    }
    assert {name for name, service in SERVICES.items() if service.get("profiles") == ["distributed"]} == {
        *("worker", "redis", "postgres")
    }
    for name, service in SERVICES.items():
        for needed, condition in service.get("depends_on", {}).items():
            is_optional = "profiles" in SERVICES[needed] and "profiles" not in service
            assert condition.get("required", True) != is_optional, (name, needed)


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_the_image_has_no_rights_and_a_root_that_cannot_be_written(name):
    service = SERVICES[name]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_one_port_is_published_on_loopback():
    assert [port for service in SERVICES.values() for port in service.get("ports", [])] == ["127.0.0.1:3000:3000"]


@pytest.mark.parametrize("environment", [{}, ENVIRONMENT], ids=["one machine", "distributed"])
def test_every_volume_is_declared_and_every_mounted_file_exists(environment):
    for service in SERVICES.values():
        for volume in service["volumes"]:
            source = interpolated(volume, environment).split(":")[0]
            if source.startswith("./"):
                assert (PROJECT_ROOT / source).is_file()
            else:
                assert source in COMPOSE["volumes"] or source == "/srv/phygitals"


def test_workers_share_no_working_copy_and_run_what_the_unit_runs():
    worker = SERVICES["worker"]
    assert not any(volume.startswith("project:") for volume in worker["volumes"])
    unit = (PROJECT_ROOT / "deploy" / "distributed" / "phygitals-worker.service").read_text(encoding="utf-8")
    assert f"ExecStart=/srv/phygitals/.venv/bin/{' '.join(worker['command'])}\n" in unit


def test_the_settings_of_the_guide_are_those_that_the_services_and_dagster_read():
    read = set(re.findall(r"\$\{(\w+)", (PROJECT_ROOT / "compose.yaml").read_text(encoding="utf-8"))) - {"VERSION"}
    dagster = (PROJECT_ROOT / ENVIRONMENT["DAGSTER_YAML"]).read_text(encoding="utf-8")
    assert read | set(re.findall(r"env: (\w+)", dagster)) <= set(ENVIRONMENT)
    assert ENVIRONMENT["COMPOSE_PROFILES"] == "distributed"
    for name, variable in (("postgres", "DAGSTER_POSTGRES_URL"), ("redis", "DAGSTER_REDIS_URL")):
        assert f"@{name}:" in ENVIRONMENT[variable] and name in SERVICES
    assert SERVICES["postgres"]["environment"]["POSTGRES_USER"] in ENVIRONMENT["DAGSTER_POSTGRES_URL"]


def test_no_service_starts_before_the_database_and_the_queue_answer_as_they_will():
    """The images answer before: PostgreSQL on its socket while it is prepared, Redis with an error while it loads."""
    database = SERVICES["postgres"]["healthcheck"]["test"]
    assert database[:4] == ["CMD", "pg_isready", "-h", "127.0.0.1"]
    assert SERVICES["redis"]["healthcheck"]["test"] == ["CMD", "redis-cli", "-e", "ping"]
    # Compose gives up on an unhealthy service; that of a long queue or a slow disk is only late.
    assert all(SERVICES[name]["healthcheck"]["start_period"] == "5m" for name in ("postgres", "redis"))
