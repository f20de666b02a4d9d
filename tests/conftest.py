"""Fixtures: a production-like environment against the bundled simulator, and what tests read of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from pipeline.process import prepare_process
from pipeline.settings import PROJECT_ROOT
from pipeline.simulator.server import Simulator
from pipeline.simulator.service import serve
from pipeline.steps import Workspace
from tests.support.original import Original
from tests.support.seeds import IS_CI
from tests.support.workspace import (
    FOLDERS,
    KEY,
    Folder,
)

if TYPE_CHECKING:
    from tests.support.s3 import S3Server


def pytest_configure() -> None:
    """Makes SIGINT stop what tests start: it inherits to ignore the signal when a script runs tests with `&`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    prepare_process()  # for tests that open no workspace, which does this
    # How long an example takes says how busy the machine is.
    hypothesis.settings.register_profile("no deadline", deadline=None, derandomize=IS_CI)
    hypothesis.settings.load_profile("no deadline")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints what tests recorded: figures of the data that they saw."""
    for report in terminalreporter.getreports("passed"):
        for name, figure in report.user_properties:
            terminalreporter.write_line(f"{name}: {figure}")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the settings of whoever runs it, nor writes into the project's own data."""
    for variable in list(os.environ):
        if variable.startswith(("PHYGITALS_", "AWS_")):
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
def point_at(configure: Callable[..., None]) -> Callable[[Simulator, str], None]:
    """Points the production environment at a simulator that is served there, with a short budget and interval."""

    def apply(simulator: Simulator, url: str) -> None:
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

    return apply


@pytest.fixture
def api(point_at: Callable[[Simulator, str], None]) -> Iterator[Callable[[Simulator], Simulator]]:
    """Serves a simulator and points the production environment at it."""
    with contextlib.ExitStack() as servers:

        def start(simulator: Simulator) -> Simulator:
            point_at(simulator, servers.enter_context(serve(simulator)))
            return simulator

        yield start


@pytest.fixture(scope="module")
def originals() -> Iterator[tuple[dict[str, Original], contextlib.ExitStack]]:
    """By name, what `copy_of` has built in this module; its simulators are served as long."""
    with contextlib.ExitStack() as kept:
        yield {}, kept


@pytest.fixture
def copy_of(
    originals: tuple[dict[str, Original], contextlib.ExitStack],
    point_at: Callable[[Simulator, str], None],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str, Callable[[], Simulator], Callable[[Workspace], None]], Workspace]:
    """A workspace that is built once in a module, by the name: each test gets a copy, at the same simulator.

    `simulator` and `build` are called for the first copy only. A copy is at the place of the one before, and its files
    keep their times, because the pipeline knows objects by both. The run history that `build` left is copied as well.
    """
    built, kept = originals

    def copy(name: str, simulator: Callable[[], Simulator], build: Callable[[Workspace], None]) -> Workspace:
        if name not in built:
            chosen, folder = simulator(), tmp_path_factory.mktemp("original")
            url = kept.enter_context(serve(chosen))
            original = Original(folder / "kept", folder / "home", folder / "data", chosen, url)
            point_at(chosen, original.url)
            monkeypatch.setenv("PHYGITALS_DATA_DIR", str(original.root))
            build(Workspace.open())
            original.root.rename(original.kept)
            shutil.copytree(os.environ["DAGSTER_HOME"], original.home)
            built[name] = original
        original = built[name]
        point_at(original.simulator, original.url)
        monkeypatch.setenv("PHYGITALS_DATA_DIR", str(original.root))
        if original.root.exists():
            shutil.rmtree(original.root)
        shutil.copytree(original.kept, original.root, symlinks=True)
        shutil.copytree(original.home, os.environ["DAGSTER_HOME"], dirs_exist_ok=True)
        return Workspace.open()

    return copy


@pytest.fixture(params=FOLDERS, ids=[folder.kind.folder for folder in FOLDERS])
def folder(request: pytest.FixtureRequest) -> Folder:
    """The inbox, and its neighbour."""
    found: Folder = request.param
    return found


@pytest.fixture(scope="session")
def _s3_served() -> Iterator[tuple[S3Server, str]]:
    from tests.support.s3 import S3Server  # takes a second to import, which few tests need

    server = S3Server()
    with server.serving() as url:
        yield server, url


@pytest.fixture
def s3_server(_s3_served: tuple[S3Server, str], monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The S3 server that all tests of this process share, with the variables that give access to it."""
    from tests.support.s3 import CREDENTIALS

    server, url = _s3_served
    server.requests.clear()
    server.fault = lambda _method, _path: None
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": url}.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def lake_url(s3_server: S3Server) -> str:
    """The URL of an empty lake in a bucket of its own."""
    from tests.support.s3 import make_bucket

    bucket = f"lake-{uuid.uuid4().hex}"
    make_bucket(os.environ["AWS_ENDPOINT_URL"], bucket)
    return f"s3://{bucket}/partner-1/production"
