"""The notebooks run from top to bottom on a published file, and are committed without outputs."""

from __future__ import annotations

import json

import pytest

from pipeline.settings import PROJECT_ROOT
from pipeline.workspace import Workspace
from tests.conftest import drop, refresh

NOTEBOOKS = sorted((PROJECT_ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_a_notebook_runs_from_top_to_bottom(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PHYGITALS_DATA_DIR", str(tmp_path / "data" / "local"))
    workspace = Workspace.open()
    drop(workspace, "a.csv", "session_id,pack_id,price_usd\n" + "".join(f"s{i},p,10\n" for i in range(10)))
    refresh(workspace)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    namespace: dict[str, object] = {}
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    for cell in (c for c in cells if c["cell_type"] == "code"):
        assert cell["outputs"] == []
        exec("".join(cell["source"]), namespace)
    refresh(workspace)


def test_there_are_notebooks():
    assert NOTEBOOKS
