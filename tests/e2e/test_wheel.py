"""The wheel, installed without a clone: a project folder, the demonstration and a refresh from an empty folder."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import duckdb
import pytest
from dotenv import dotenv_values

from pipeline.cli.init import InitError, make_project, write_project
from pipeline.settings import PROJECT_ROOT, Settings
from pipeline.sources.packs_file import read_packs
from tests.support.code_blocks import blocks, program
from tests.support.command_line import assert_one_line_error
from tests.support.processes import free_port, is_served, wait_until

SOURCE = ("pipeline", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The files that a build reads, away from the clone, which a build would leave its traces in."""
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCE:
        if (PROJECT_ROOT / name).is_dir():
            shutil.copytree(PROJECT_ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(PROJECT_ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    target = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", target, source], check=True, capture_output=True)
    (built,) = target.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def scripts(wheel, tmp_path_factory):
    """The programs of an environment that has the wheel, and the dependencies of this one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    command = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet"]
    subprocess.run([*command, "--no-deps", "--no-index", wheel], check=True, capture_output=True)
    (site,) = folder.glob("lib/python*/site-packages")
    # A path is searched after the folder that names it, and its own .pth files, such as this clone's, are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin"


@pytest.fixture
def outside(tmp_path) -> tuple[Path, dict[str, str]]:
    """An empty folder, and an environment with no trace of the clone."""
    (empty := tmp_path / "empty").mkdir()
    return empty, {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


def files_of(folder: Path, *suffixes: str) -> set[str]:
    found = (path.relative_to(PROJECT_ROOT).as_posix() for path in folder.rglob("*") if path.is_file())
    return {path for path in found if "__pycache__" not in path and path.endswith(suffixes or ("",))}


def test_wheel_and_source_archive_have_every_file_of_the_package(wheel, source, tmp_path):
    expected = files_of(PROJECT_ROOT / "pipeline")
    assert len([path for path in expected if path.endswith((".sql", ".html", ".yaml", ".json"))]) > 20
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if name.startswith("pipeline/")} == expected
    program = f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, cwd=source)
    (built,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        kept = {name.partition("/")[2] for name in archive.getnames()}
    assert expected | {"pyproject.toml", "README.md", "LICENSE"} <= kept


def test_a_project_is_made_and_the_demonstration_runs_in_an_empty_folder(scripts, outside):
    empty, environment = outside
    environment["PHYGITALS_POLL_BUDGET"] = "3"

    def phygitals(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        command = [scripts / "phygitals", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=200)

    made = phygitals("init", "x", cwd=empty)
    assert (made.returncode, made.stderr) == (0, "")
    project = empty / "x"
    shown = phygitals("demo", "--sessions", "30", cwd=project)
    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""
    assert (report := project / "data" / "local" / "report.html").exists()
    told = shown.stdout.partition("What to do next:")[2]
    assert report.as_uri() in told
    assert f"{scripts / 'phygitals'} dev" in told
    with duckdb.connect(str(project / "data" / "local" / "phygitals.duckdb"), read_only=True) as published:
        assert published.sql("SELECT count(*) FROM purchases").fetchone() == (30,)
    assert phygitals("submit", "one", cwd=project).returncode == 0
    assert phygitals("query", "FROM pack_economics", cwd=project).returncode == 0
    assert sorted(path.name for path in empty.iterdir()) == ["x"]
    again = phygitals("init", "x", cwd=empty)
    assert_one_line_error(again, f"{project} has .env, ", "nothing was written")
    (project / ".env").write_text("PHYGITALS_API_KEY=secret-of-somebody\n")
    (project / ".env").chmod(0o644)
    warned = phygitals("status", cwd=project)
    assert "PHYGITALS_API_KEY, and every user of this machine can read it" in warned.stderr
    assert "secret-of-somebody" not in warned.stdout + warned.stderr
    (project / ".env").write_text("PHYGITALS_ENV=production", encoding="utf-16")
    assert_one_line_error(phygitals("status", cwd=project), ".env is UTF-16: save it again as UTF-8")


def installed_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix != ".pyc" and path.name != "__pycache__")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_tutorial_runs_as_it_stands_in_an_empty_folder_without_a_clone(scripts, outside):
    empty, environment = outside
    (empty / ".venv").symlink_to(scripts.parent)
    executed = [program(block) for block in blocks(PROJECT_ROOT / "docs" / "tutorial.md") if block.is_executed]
    assert len(executed) >= 3
    # Fewer invented purchases than a reader gets show the same.
    whole = "\n".join(executed).replace("phygitals demo\n", "phygitals demo --sessions 30\n")
    environment["PHYGITALS_POLL_BUDGET"] = "3"
    before = installed_below(scripts.parent)
    done = subprocess.run(
        ["bash", "-c", whole], capture_output=True, text=True, cwd=empty, env=environment, timeout=280
    )
    assert done.returncode == 0, done.stderr
    assert installed_below(scripts.parent) == before
    assert (empty / "dagster_home" / "local" / "history" / "runs.db").exists()
    assert "my-first-session" in done.stdout.partition("win_rate_high")[2]
    assert (empty / "data" / "local" / "report.html").exists()


def test_dev_serves_the_ui_of_the_project(scripts, outside):
    empty, environment = outside
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(
        [scripts / "phygitals", "dev", "--port", str(port)],
        cwd=empty,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            wait_until(lambda: is_served(url), "the UI is served")
        finally:
            process.terminate()
            told, warned = process.communicate(timeout=60)
    assert "superseded" not in warned and "Updating" not in told + warned
    assert told.splitlines()[0] == f"Dagster UI: {url} (Ctrl-C ends it)"
    assert (empty / "dagster_home" / "local" / "history" / "runs.db").exists()
    shown, own = empty / "dagster_home" / "dagster.yaml", PROJECT_ROOT / "dagster_home" / "dagster.yaml"
    assert shown.read_text() == own.read_text()


@pytest.fixture
def project(tmp_path):
    """A folder that is there and empty."""
    (folder := tmp_path / "project").mkdir()
    return folder


def test_the_template_states_every_variable_with_its_default_and_sets_none(project, monkeypatch):
    write_project(project)
    dotenv = project / ".env"
    assert stat.S_IMODE(dotenv.stat().st_mode) == 0o600
    assert dotenv_values(dotenv) == {}
    text = dotenv.read_text(encoding="utf-8")
    lines = [line.removeprefix("#") if line.startswith("#PHYGITALS_") else line for line in text.splitlines()]
    dotenv.write_text("\n".join(lines), encoding="utf-8")
    assert set(dotenv_values(dotenv)) == {f"PHYGITALS_{name.upper()}" for name in Settings.model_fields}
    monkeypatch.delenv("PHYGITALS_DATA_DIR")
    assert Settings.load(dotenv) == Settings.load(project / "none")


def test_a_project_equals_the_clone_and_its_packs_file_is_not_read(project):
    made = {str(path.relative_to(project)) for path in write_project(project)}
    for name in ("workspace.yaml", "dagster_home/dagster.yaml"):
        assert (project / name).read_text() == (PROJECT_ROOT / name).read_text()
    assert made == {
        *(".env", "workspace.yaml", "dagster_home/dagster.yaml"),
        "data/production/reference/packs.csv.example",
    }
    assert not (project / "data" / "production" / "reference" / "packs.csv").exists()


def test_the_example_of_a_packs_file_is_accepted_once_it_is_renamed(project):
    write_project(project)
    packs = read_packs(project / "data" / "production" / "reference" / "packs.csv.example")
    assert len(packs) == 5
    assert [row.rejected_reason for row in packs if row.rejected_reason] == []


def test_files_that_exist_are_named_and_none_is_written(project):
    (project / ".env").write_text("PHYGITALS_ENV=production\n")
    (project / "workspace.yaml").write_text("mine")
    with pytest.raises(InitError) as refusal:
        write_project(project)
    assert f"{project} has .env, workspace.yaml already; nothing was written" in str(refusal.value)
    assert sorted(path.name for path in project.iterdir()) == [".env", "workspace.yaml"]
    assert (project / ".env").read_text() == "PHYGITALS_ENV=production\n"


def test_a_folder_that_cannot_be_made_is_named(project):
    (project / "file").write_text("")
    with pytest.raises(InitError, match="cannot be written: Not a directory; choose another folder"):
        write_project(project / "file" / "x")


def test_a_package_of_a_clone_makes_no_project_elsewhere(project):
    with pytest.raises(InitError, match="is installed from the clone"):
        make_project(project / "x")
    assert not (project / "x").exists()
