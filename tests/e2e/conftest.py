"""Fixtures of the tests of what users start."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pipeline.steps import Workspace
from tests.support.dagster_runs import unfinished_run
from tests.support.webhook_receiver import receiver
from tests.support.workspace import drop, refresh

__all__ = ["receiver", "unfinished_run"]


@pytest.fixture(scope="session")
def demonstrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory that `make demo` leaves, of ten sessions: the simulator takes seconds to resolve them."""
    folder = tmp_path_factory.mktemp("demonstrated") / "local"
    with pytest.MonkeyPatch.context() as patch:
        for variable in [name for name in os.environ if name.startswith(("PHYGITALS_", "AWS_"))]:
            patch.delenv(variable)
        patch.setenv("PHYGITALS_DATA_DIR", str(folder))
        workspace = Workspace.open()
        drop(workspace, "a.csv", "session_id,pack_id,price_usd\n" + "".join(f"s{i},elite-50,50\n" for i in range(10)))
        refresh(workspace)
    return folder


@pytest.fixture
def demo(demonstrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A copy of it, seen from the project's root."""
    folder = tmp_path / "data" / "local"
    shutil.copytree(demonstrated, folder)
    monkeypatch.setenv("PHYGITALS_DATA_DIR", str(folder))
    monkeypatch.chdir(tmp_path)
    return Workspace.open()
