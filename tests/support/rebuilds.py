"""A rebuild that several processes share, step by step, so that a test decides what was pre-built when."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.schema import TABLES
from pipeline.schema.staging import SESSION_DAY_POLLS
from pipeline.schema.table import Zone
from pipeline.settings import PROJECT_ROOT
from pipeline.steps import Workspace
from pipeline.transform.builder import Builder
from pipeline.transform.shared_rebuild import PREBUILT
from tests.support.busy_day import DAY, BusyDay

DAYS = 3


def add_days(workspace: Workspace) -> None:
    """Adds raw data of a few days, one run on each."""
    days = BusyDay(workspace.data)
    for number in range(DAYS):
        days.add_run(DAY + timedelta(days=number, hours=12), 40)


@contextlib.contextmanager
def round_begun(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Builder]:
    """The builder of a run that derives everything anew and has begun a round. The test starts its processes."""
    monkeypatch.setattr("pipeline.transform.shared_rebuild.LEAST_PARTS", 1)
    monkeypatch.setattr("pipeline.transform.shared_rebuild._started", lambda _number: subprocess.Popen(["true"]))
    with workspace.builder() as builder:
        builder.forget_all()
        builder.build(SESSION_DAY_POLLS)
        yield builder


def prebuilding(number: int, program: Path = PROJECT_ROOT, **variables: object) -> subprocess.Popen[str]:
    """A process that pre-builds a share, by the program in a folder and with these variables besides the test's."""
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}, "PYTHONPATH": str(program)}
    command = [sys.executable, "-m", "pipeline.cli.main", "prebuild", str(number)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, cwd=program)


def adopted(builder: Builder) -> dict[str, int]:
    """Builds all tables; the parts that were adopted, by table."""
    reports = [builder.build(table) for table in TABLES.values() if table.zone is not Zone.RAW]
    return {report.table.name: report.adopted_count for report in reports if report.table in PREBUILT}
