"""Releases: the version, the changelog and the notes agree, and what a release installs is listed with its licences."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from datetime import date
from pathlib import Path

import pytest
import yaml

from docs import licences
from docs.bill_of_materials import difference
from pipeline.settings import PROJECT_ROOT

CHANGELOG = (PROJECT_ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
PROJECT = (PROJECT_ROOT / "pyproject.toml").read_text(encoding="utf-8")
FALLBACK = tomllib.loads(PROJECT)["tool"]["setuptools_scm"]["fallback_version"]
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(folder: Path, *arguments: str) -> str:
    identity = [
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@localhost",
        "-c",
        "commit.gpgsign=false",
        "-c",
        "tag.gpgsign=false",
    ]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def version_of(folder: Path) -> str:
    """The version that a build in a folder gets."""
    command = [sys.executable, "-m", "setuptools_scm"]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def copy(tmp_path):
    """What a build reads, with one module in place of the package."""
    (package := tmp_path / "copy" / "pipeline").mkdir(parents=True)
    (package / "__init__.py").touch()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT_ROOT / name, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def clone(copy):
    git(copy, "init", "--quiet")
    git(copy, "add", ".")
    git(copy, "commit", "--quiet", "--message", "one")
    return copy


@needs_git
def test_the_version_is_that_of_the_tag_and_a_later_commit_is_the_next_in_development(clone):
    git(clone, "tag", "v9.8.7")
    assert version_of(clone) == "9.8.7"
    git(clone, "commit", "--quiet", "--allow-empty", "--message", "two")
    assert re.fullmatch(r"9\.8\.8\.dev1\+g[0-9a-f]+", version_of(clone))


@needs_git
def test_a_clone_without_tags_counts_from_the_newest_release_of_the_changelog(clone):
    major, minor, patch = FALLBACK.split(".")
    assert re.fullmatch(rf"{major}\.{minor}\.{int(patch) + 1}\.dev1\+g[0-9a-f]+", version_of(clone))


def test_a_copy_without_git_is_taken_for_the_newest_release(copy):
    assert version_of(copy) == FALLBACK


@needs_git
def test_a_source_archive_keeps_the_version_of_its_tag(clone, tmp_path):
    git(clone, "tag", "v9.8.7")
    program = f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, cwd=clone)
    with tarfile.open(tmp_path / "phygitals_pipeline-9.8.7.tar.gz") as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    assert version_of(tmp_path / "unpacked" / "phygitals_pipeline-9.8.7") == "9.8.7"


def releases(changelog: str) -> dict[str, date]:
    """The day of each release, in the order of the changelog. Raises ValueError if a heading has no day."""
    first, *headings = re.findall(r"^## (.*)$", changelog, re.MULTILINE)
    if first != "[Unreleased]":
        raise ValueError(f"the first section is {first!r} instead of '[Unreleased]'")
    found = {}
    for heading in headings:
        parts = re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", heading)
        if not parts:
            raise ValueError(f"{heading!r} is no release with its day, such as '[1.0.0] - 2026-11-29'")
        found[parts[1]] = date.fromisoformat(parts[2])
    return found


def test_the_changelog_is_dated_by_release_from_the_newest_to_the_oldest():
    found = releases(CHANGELOG)
    versions = [tuple(int(part) for part in version.split(".")) for version in found]
    assert versions and versions == sorted(set(versions), reverse=True)
    assert list(found.values()) == sorted(found.values(), reverse=True)


@pytest.mark.parametrize(
    "headings", ["## [1.0.0] - 2026-11-29", "## [Unreleased]\n## [1.0.0]", "## [Unreleased]\n## 1.0"]
)
def test_a_release_without_its_day_is_found(headings):
    with pytest.raises(ValueError, match="first section|no release with its day"):
        releases(headings)


def test_the_version_without_a_tag_is_the_newest_release():
    assert next(iter(releases(CHANGELOG))) == FALLBACK


def test_the_images_that_guides_and_manifests_name_are_of_the_newest_release():
    texts = [
        path.read_text(encoding="utf-8")
        for name in ("docs", "deploy")
        for path in (PROJECT_ROOT / name).rglob("*.*")
        if path.suffix in {".md", ".yaml"}
    ]
    named = re.findall(r"(?:VERSION=|newTag: [\"']?|phygitals-pipeline:)(\d+\.\d+\.\d+)", "\n".join(texts))
    assert len(named) > 2 and set(named) == {FALLBACK}


def test_every_release_has_notes_on_the_upgrade_that_say_what_is_derived_again():
    text = (PROJECT_ROOT / "docs" / "how-to" / "upgrade.md").read_text(encoding="utf-8")
    notes = dict(re.findall(r"^## To (\S+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    assert list(notes) == list(releases(CHANGELOG))
    assert [version for version, note in notes.items() if "**Derived again:**" not in note] == []


@needs_git
@pytest.mark.skipif(not (PROJECT_ROOT / ".git").exists(), reason="needs a clone")
def test_every_tag_of_the_clone_is_a_release_of_the_changelog():
    tags = git(PROJECT_ROOT, "tag", "--list", "v[0-9]*").split()
    assert {tag.removeprefix("v") for tag in tags} <= set(releases(CHANGELOG))


PINS = "a==1 \\\n    --hash=sha256:0\nb[c]==2 ; sys_platform == 'win32' \\\n    --hash=sha256:0\n"
A, B, C = ({"name": name, "version": version} for name, version in (("a", "1"), ("b", "2"), ("c", "3")))


def test_a_bill_of_materials_that_lists_what_users_install_agrees_with_their_lock():
    assert difference({"metadata": {}, "components": [A, B]}, PINS) is None


@pytest.mark.parametrize(
    ("bill", "problem"),
    [
        ({"metadata": {}, "components": [A]}, "b=2 is pinned and not listed"),
        ({"metadata": {}, "components": [A, B | {"version": "3"}]}, "b=2 is pinned and not listed"),
        ({"metadata": {}, "components": [A, B, C]}, "c=3 is listed and not pinned"),
        ({"metadata": {"timestamp": "now"}, "components": [A, B]}, "timestamp differs in each run"),
        ({"metadata": {}, "components": [A, B], "serialNumber": "1"}, "serialNumber differs in each run"),
    ],
)
def test_a_bill_of_materials_is_refused_with_the_package_that_differs(bill, problem):
    assert difference(bill, PINS) == problem


def test_a_package_for_windows_only_is_told_from_the_others():
    lock = (
        "a==1 \\\n    --hash=x\nb[c]==2 ; sys_platform == 'win32' \\\n    --hash=x\na==3 ; sys_platform == 'win32' \\\n"
    )
    assert licences.pinned(lock) == {"a": False, "b": True}


@pytest.mark.parametrize("stated", ["GPL-3.0-only", "MIT AND AGPL-3.0-or-later", "Proprietary", ""])
def test_a_licence_that_is_unknown_or_not_accepted_is_refused_with_the_package(stated):
    with pytest.raises(licences.LicenceError, match=rf"^a-package has the licence '?{stated or 'unknown'}"):
        licences.accepted("a-package", stated)


def test_a_pinned_package_that_is_not_installed_is_named():
    with pytest.raises(licences.LicenceError, match="no-such-package is pinned"):
        licences.licence("no-such-package")


TEMPLATES = sorted((PROJECT_ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_a_template_of_issues_asks_for_the_version_and_warns_of_secrets(template):
    form = yaml.safe_load(template.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(form)
    notes = [part for part in form["body"] if part["type"] == "markdown"]
    questions = [part for part in form["body"] if part["type"] != "markdown"]
    assert all(part["attributes"]["label"] for part in questions)
    assert len({part["id"] for part in questions}) == len(questions)
    assert "version" in {part["id"] for part in questions}
    assert "Leave out your API key" in notes[0]["attributes"]["value"]
