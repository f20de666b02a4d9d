"""The notebooks run from top to bottom on a published file, and are committed without outputs."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.settings import PROJECT_ROOT
from tests.support.workspace import drop, refresh, rows

NOTEBOOKS = sorted((PROJECT_ROOT / "notebooks").glob("*.ipynb"))


def cells(path: Path) -> list[str]:
    """The notebook's code, cell by cell."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    return ["".join(cell["source"]) for cell in code]


def run(cell: str, namespace: dict[str, Any]) -> Any:
    """Runs a cell as a notebook does: what its last line comes to is shown, and returned."""
    *body, last = ast.parse(cell).body
    if isinstance(last, ast.Expr):
        shows = last.value
    else:
        body, shows = [*body, last], ast.parse("None", mode="eval").body
    exec(compile(ast.Module(body, []), "<cell>", "exec"), namespace)
    shown = eval(compile(ast.Expression(shows), "<cell>", "eval"), namespace)
    if hasattr(shown, "_repr_mimebundle_"):
        assert "<svg" in shown._repr_mimebundle_(None, None)["image/svg+xml"]
    elif hasattr(shown, "_repr_html_"):
        assert "<table" in shown._repr_html_()
    return shown


@pytest.fixture
def workspace(demo, tmp_path, monkeypatch):
    """What `make demo` leaves, seen from the folder of the notebooks."""
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    return demo


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_a_notebook_runs_from_top_to_bottom_and_sees_new_data_in_its_last_cell(path, workspace):
    namespace: dict[str, Any] = {}
    shown = [run(cell, namespace) for cell in cells(path)]
    assert shown[-1]["purchases"].tolist() == [10]
    drop(workspace, "b.txt", "new\n")
    refresh(workspace)
    assert namespace["ask"]("SELECT count(*) AS n FROM purchases")["n"].tolist() == [10]
    assert run(cells(path)[-1], namespace)["purchases"].tolist() == [11]
    assert rows(workspace, "SELECT count(*) FROM purchases") == [(11,)]
    namespace["connection"].close()


def test_there_are_notebooks():
    assert NOTEBOOKS
