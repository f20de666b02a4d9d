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
TESTS = PROJECT_ROOT / "tests"
MAY_IMPORT_DAGSTER = {"orchestration", "definitions.py"}
# Each may import those to its left, and itself.
LAYERS = (
    *(
        "errors",
        "clock",
        "process",
        "network",
        "endpoint",
        "setting_types",
        "settings",
        "schema",
        "storage",
        "polling",
        "sources",
    ),
    *("simulator", "transform", "catalog", "quality", "publish", "report", "steps", "explore", "orchestration", "cli"),
    "definitions",
)


def imports(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it. Of `from a import b`, which may be a module, `a` and `a.b`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{path} has a relative import, whose direction is not checked"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def is_of(name: str, package: str) -> bool:
    """Whether a module is the package or belongs to it."""
    return name == package or name.startswith(f"{package}.")


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
    """The place of a module's layer; None for what belongs to none: other packages, and `pipeline` itself."""
    return next((i for i, layer in enumerate(LAYERS) if is_of(module, f"pipeline.{layer}")), None)


def test_every_module_belongs_to_a_layer():
    inside = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert inside == {*LAYERS, "__init__"}


def upwards(path: Path, layer: int) -> set[str]:
    return {name for name in imports(path) if (layer_of(name) or 0) > layer}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    module = ".".join(["pipeline", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")
    own = layer_of(module)
    assert upwards(path, -1 if own is None else own) == set()


@pytest.mark.parametrize(
    "line",
    [
        "import pipeline.cli.main",
        "from pipeline.cli import main",
        "from pipeline import definitions",
        "def f(): import pipeline.cli",
    ],
)
def test_an_import_that_points_upwards_is_found(line, tmp_path):
    path = tmp_path / "module.py"
    path.write_text(f"import json\nfrom pipeline.errors import PipelineError\n{line}\n")
    assert upwards(path, LAYERS.index("errors"))


def test_only_the_steps_and_the_command_line_start_the_simulator():
    using = {
        path.relative_to(PACKAGE).parts[0]
        for path in MODULES
        if any(is_of(name, "pipeline.simulator") for name in imports(path))
    }
    assert using == {"simulator", "steps.py", "cli"}


def test_the_report_reads_the_published_file_only():
    for path in (PACKAGE / "report").rglob("*.py"):
        used = {
            package
            for package in ("schema", "transform")
            for name in imports(path)
            if is_of(name, f"pipeline.{package}")
        }
        assert used == set(), path


def test_the_product_imports_neither_tests_nor_benchmarks():
    used = {
        (path.name, name) for path in MODULES for name in imports(path) if name.split(".")[0] in ("tests", "benchmarks")
    }
    assert used == set()


def imported_tests(path: Path) -> set[str]:
    """The modules of tests that a file imports, other than the shared ones."""
    found = {name for name in imports(path) if is_of(name, "tests") and name not in ("tests", "tests.support")}
    return {name for name in found if not is_of(name, "tests.support")}


@pytest.mark.parametrize("path", sorted(TESTS.rglob("*.py")), ids=lambda p: str(p.relative_to(TESTS)))
def test_no_test_imports_another(path):
    assert imported_tests(path) == set()


@pytest.mark.parametrize(
    "line", ["from tests.e2e import test_cli", "import tests.unit.test_settings", "from tests import e2e"]
)
def test_an_import_of_a_test_is_found(line, tmp_path):
    path = tmp_path / "test_any.py"
    path.write_text(f"from tests.support import payloads\n{line}\n")
    assert imported_tests(path)


def test_the_unit_tier_starts_no_server_and_no_run():
    """Neither by an import nor by a fixture, so that it is quick and runs anywhere."""
    servers = (
        "pipeline.simulator.service",
        "pipeline.simulator.server",
        "tests.support.raw_server",
        "pipeline.orchestration",
    )
    for path in (TESTS / "unit").rglob("*.py"):
        used = {name for name in imports(path) for package in (*servers, "dagster") if is_of(name, package)}
        tree = ast.parse(path.read_text(encoding="utf-8"))
        used |= {
            node.arg for node in ast.walk(tree) if isinstance(node, ast.arg) and node.arg in ("api", "raw_api", "demo")
        }
        assert used == set(), path


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
    written = [*MODULES, *TESTS.rglob("*.py")]
    assert {path.name: count for path in written if (count := len(path.read_text().splitlines())) > 400} == {}


def test_every_query_belongs_to_a_declared_table():
    queries = {path.stem for path in (PACKAGE / "transform" / "sql").glob("*.sql")}
    derived = [step for table in TABLES.values() for step in (table, *table.steps) if step.sources]
    assert queries == {table.name for table in derived} | set(MACROS)


LOCKS = ["requirements.lock", "requirements-distributed.lock", "requirements-explore.lock", "requirements-dev.lock"]
OTHER_LOCKS = [".ci/installer.lock", ".ci/oldest-duckdb.lock", ".ci/sbom.lock", "benchmarks/dlt-requirements.txt"]


@pytest.mark.parametrize("path", [*LOCKS, *OTHER_LOCKS])
def test_a_lock_pins_hashes_and_names_no_host(path):
    lock = (PROJECT_ROOT / path).read_text(encoding="utf-8")
    assert "://" not in lock
    assert not re.search(r"^\s*--(index|extra-index|find-links)", lock, re.MULTILINE)
    pins = re.split(r"\n(?=\S)", lock.strip())
    assert all("==" in pin and "--hash=sha256:" in pin for pin in pins)


@pytest.mark.parametrize("path", LOCKS)
def test_no_lock_slows_down_every_drawing(path):
    """If this package is installed, jsonschema loads it, and Altair with it; it takes longer than all charts."""
    assert "rfc3987-syntax" not in (PROJECT_ROOT / path).read_text(encoding="utf-8")


def pins_of(path: str) -> set[str]:
    """The pinned versions, without what selects the Pythons that they are for."""
    return {line.split()[0] for line in (PROJECT_ROOT / path).read_text(encoding="utf-8").splitlines() if "==" in line}


def test_a_clone_is_installed_by_the_installer_of_its_lock():
    assert pins_of(".ci/installer.lock") < pins_of("requirements-dev.lock")


@pytest.mark.parametrize("path", LOCKS[:-1])
def test_a_lock_of_users_has_versions_that_the_tests_ran_with_and_no_test_tools(path):
    def name(pin: str) -> str:
        return pin.partition("==")[0].partition("[")[0]

    tested = {(name(pin), pin.partition("==")[2]) for pin in pins_of(LOCKS[-1])}
    pinned = {(name(pin), pin.partition("==")[2]) for pin in pins_of(path)}
    assert pinned < tested
    assert {"pytest", "mypy", "ruff", "sphinx", "moto", "playwright"}.isdisjoint(each for each, _ in pinned)
