"""What keeps the house in order: the wall around Dagster, the direction of imports, the size of modules, the locks."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.schema import TABLES
from pipeline.settings import PROJECT_ROOT
from pipeline.transform.queries import MACROS

PACKAGE = PROJECT_ROOT / "pipeline"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAY_IMPORT_DAGSTER = {"orchestration", "definitions.py"}
# Each may import those to its left, and itself.
LAYERS = (
    *("errors", "clock", "process", "network", "endpoint", "settings", "schema", "storage", "polling", "sources"),
    *("simulator", "transform", "catalog", "quality", "publish", "report", "steps", "orchestration", "cli"),
    "definitions",
)


def imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_dagster_side_imports_dagster(path):
    inside = path.relative_to(PACKAGE).as_posix()
    may = any(inside == allowed or inside.startswith(f"{allowed}/") for allowed in MAY_IMPORT_DAGSTER)
    uses = {name for name in imports(path) if name.split(".")[0].startswith("dagster")}
    assert may or not uses
    assert not any(part.startswith("_") for name in uses for part in name.split("."))


def test_the_core_runs_without_dagster_being_loaded():
    program = "import sys, pipeline.steps, pipeline.cli.main; sys.exit('dagster' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def layer_of(module: str) -> int | None:
    inside = module.removeprefix("pipeline.")
    matching = [i for i, layer in enumerate(LAYERS) if inside == layer or inside.startswith(f"{layer}.")]
    return matching[0] if module.startswith("pipeline.") and matching else None


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    module = ".".join(["pipeline", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")
    own = layer_of(module)
    if own is not None:
        upwards = {name for name in imports(path) if (layer_of(name) or 0) > own}
        assert not upwards


def test_what_is_printed_goes_through_the_console():
    """Which makes harmless what would steer a terminal. The process that draws speaks to the one that started it."""
    printing = {
        path.relative_to(PACKAGE).as_posix()
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "click.echo", "click.secho")
    }
    assert printing <= {"report/drawing_process.py"}


def test_only_storage_composes_paths_below_the_data_directory():
    composing = {
        path.relative_to(PACKAGE).parts[0]
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and ast.unparse(node.left).endswith("root")
    }
    assert composing == {"storage"}


def test_no_import_and_no_constructor_changes_the_process():
    """Such as limits, allocators and signal handlers; only `process` and functions that undo it do."""
    changing = ("field_size_limit", "set_threshold", "set_memory_pool", "set_cpu_count", "signal.signal", "setlocale")
    found = set()
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constructors = [node for node in ast.walk(tree) if getattr(node, "name", "") == "__init__"]
        functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        at_import = [node for node in tree.body if not isinstance(node, functions)]
        for node in (inner for outer in (*constructors, *at_import) for inner in ast.walk(outer)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(changing):
                found.add(path.relative_to(PACKAGE).as_posix())
    assert found == set()


def test_no_module_is_longer_than_a_reader_can_hold():
    assert {path.name: count for path in MODULES if (count := len(path.read_text().splitlines())) > 400} == {}


def test_every_query_belongs_to_a_declared_table():
    queries = {path.stem for path in (PACKAGE / "transform" / "sql").glob("*.sql")}
    derived = [step for table in TABLES.values() for step in (table, *table.steps) if step.sources]
    assert queries == {table.name for table in derived} | set(MACROS)


@pytest.mark.parametrize("path", ["requirements.lock", ".ci/oldest-duckdb.lock", "benchmarks/dlt-requirements.txt"])
def test_a_lock_pins_hashes_and_names_no_host(path):
    lock = (PROJECT_ROOT / path).read_text(encoding="utf-8")
    assert "://" not in lock
    assert not re.search(r"^\s*--(index|extra-index|find-links)", lock, re.MULTILINE)
    pins = re.split(r"\n(?=\S)", lock.strip())
    assert all("==" in pin and "--hash=sha256:" in pin for pin in pins)
