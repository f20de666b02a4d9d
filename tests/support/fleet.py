"""The daemon and the workers of a distributed deployment, each as a machine with a disk of its own."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from pipeline.publish.reading import open_for_queries
from pipeline.settings import PROJECT_ROOT
from pipeline.steps import Workspace
from tests.support.postgresql import OWNER, OWNERS_PASSWORD, Cluster
from tests.support.processes import started
from tests.support.workspace import drop

DEPLOY = PROJECT_ROOT / "deploy" / "distributed"
WORKER = DEPLOY / "phygitals-worker.service"
DAEMON = PROJECT_ROOT / "deploy" / "phygitals-daemon.service"
WEBSERVER = PROJECT_ROOT / "deploy" / "phygitals-webserver.service"


def new_history(cluster: Cluster, encoding: str = "UTF8") -> str:
    """The URL of an empty database for a run history, as dagster.yaml takes it."""
    name = f"history_{uuid.uuid4().hex}"
    cluster.run(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    return cluster.url(OWNER, OWNERS_PASSWORD, name).replace("postgresql://", "postgresql+psycopg2://")


def looking_often(configuration: Path, copy: Path, **launcher: object) -> Path:
    """The copy, whose daemon looks after runs every second, and whose launcher has these values besides its own."""
    changed = yaml.safe_load(configuration.read_text(encoding="utf-8"))
    changed["run_monitoring"]["poll_interval_seconds"] = 1
    changed["run_launcher"]["config"] |= launcher
    copy.write_text(yaml.safe_dump(changed), encoding="utf-8")
    return copy


def processes_of(parent: int) -> list[int]:
    """The processes that a process started: of a Celery worker, those that execute runs."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


@dataclass(frozen=True)
class Fleet:
    """Machines by name, below one folder, with the configuration that `configuration` has."""

    folder: Path
    configuration: Path
    database: Cluster
    monkeypatch: pytest.MonkeyPatch

    def use(self, machine: str) -> Path:
        """Makes it the machine on which commands start from then on. Returns its DAGSTER_HOME."""
        home = self.folder / machine / "dagster_home"
        if not home.exists():
            home.mkdir(parents=True)
            shutil.copy(self.configuration, home / "dagster.yaml")
        self.monkeypatch.setenv("DAGSTER_HOME", str(home))
        self.monkeypatch.setenv("PHYGITALS_DATA_DIR", str(self.folder / machine / "data"))
        return home

    def submit(self, *session_ids: str) -> None:
        """Puts a file into the inbox of the lake."""
        self.use("office")
        workspace = Workspace.open()
        workspace.data.push(drop(workspace, f"{uuid.uuid4().hex}.txt", "\n".join(session_ids)))

    @contextlib.contextmanager
    def running(self, unit: Path, machine: str, port: int = 0) -> Iterator[int]:
        """Runs what the systemd unit starts, on that machine. Yields the process group."""
        self.use(machine)
        (command,) = re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)
        program, *arguments = shlex.split(command)
        here = [str(Path(sys.executable).parent / Path(program).name)]
        arguments = [str(port) if word == "3000" else word for word in arguments]
        with started(here + arguments, self.folder / f"{machine}.log") as process:
            yield process.pid

    def published(self, sql: str) -> list[tuple[Any, ...]]:
        """Queries the published file from a machine that only reads."""
        self.use("reader")
        data = Workspace.open_for_reading().data
        with open_for_queries(data.current(data.warehouse)) as connection:
            return connection.execute(sql).fetchall()

    def runs(self) -> list[dg.DagsterRun]:
        """All runs, the newest first."""
        self.use("office")
        with dg.DagsterInstance.get() as instance:
            return list(instance.get_runs())
