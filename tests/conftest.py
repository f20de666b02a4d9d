"""Fixtures: a production-like environment against the bundled simulator, and what tests read of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.process import prepare_process
from pipeline.settings import PROJECT_ROOT
from pipeline.simulator.server import Simulator
from pipeline.simulator.service import serve
from pipeline.steps import Workspace
from tests.support.workspace import (
    FOLDERS,
    KEY,
    Folder,
    drop,
    refresh,
)


def pytest_configure() -> None:
    """Makes SIGINT stop what tests start: it inherits to ignore the signal when a script runs tests with `&`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    prepare_process()  # for tests that open no workspace, which does this


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints what tests recorded: figures of the data that they saw."""
    for report in terminalreporter.getreports("passed"):
        for name, figure in report.user_properties:
            terminalreporter.write_line(f"{name}: {figure}")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the settings of whoever runs it, nor writes into the project's own data."""
    for variable in list(os.environ):
        if variable.startswith("PHYGITALS_"):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("PHYGITALS_DATA_DIR", str(tmp_path / "data"))
    home = tmp_path / "dagster_home"
    home.mkdir()
    shutil.copy(PROJECT_ROOT / "dagster_home" / "dagster.yaml", home)
    monkeypatch.setenv("DAGSTER_HOME", str(home))


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets PHYGITALS_ variables by their lower-case names."""

    def apply(**values: object) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"PHYGITALS_{name.upper()}", str(value))

    return apply


@pytest.fixture
def api(configure: Callable[..., None]) -> Iterator[Callable[[Simulator], Simulator]]:
    """Serves a simulator and points the production environment at it, with a short budget and interval."""
    with contextlib.ExitStack() as servers:

        def start(simulator: Simulator) -> Simulator:
            url = servers.enter_context(serve(simulator))
            configure(
                env="production",
                api_url=url,
                api_key=KEY,
                requests_per_second=0,
                poll_interval=0.02,
                poll_budget=20,
                request_timeout=5,
            )
            simulator.key = KEY
            return simulator

        yield start


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """What `make demo` leaves, of ten sessions, seen from the project's root."""
    monkeypatch.setenv("PHYGITALS_DATA_DIR", str(tmp_path / "data" / "local"))
    monkeypatch.chdir(tmp_path)
    workspace = Workspace.open()
    drop(workspace, "a.csv", "session_id,pack_id,price_usd\n" + "".join(f"s{i},elite-50,50\n" for i in range(10)))
    refresh(workspace)
    return workspace


@pytest.fixture(params=FOLDERS, ids=[folder.kind.folder for folder in FOLDERS])
def folder(request: pytest.FixtureRequest) -> Folder:
    """The inbox, and its neighbour."""
    found: Folder = request.param
    return found
