"""What `make setup` tells the installer."""

from __future__ import annotations

import os
import subprocess

import pytest

from pipeline.settings import PROJECT_ROOT

PIP_KNOWS = "https://pip.test/simple"
UV_KNOWS = "https://uv.test/simple"


def value_of(variable: str, **environment: str) -> str:
    """What the shell makes of a variable of the Makefile."""
    command = ["make", "--silent", f'--eval=show: ; @echo "$({variable})"', "show"]
    variables = {"PATH": os.environ["PATH"], **environment}
    shown = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT_ROOT, env=variables, check=True)
    return shown.stdout.strip()


@pytest.fixture
def index(tmp_path):
    """The package index that uv gets, by the variables of the environment and the lines of pip's configuration."""

    def given(*lines: str, **variables: str) -> str:
        (tmp_path / "pip.conf").write_text("\n".join(["[global]", *lines]), encoding="utf-8")
        return value_of("INDEX", PIP_CONFIG_FILE=str(tmp_path / "pip.conf"), **variables)

    return given


def test_packages_come_from_the_index_that_pip_is_configured_to_use(index):
    assert index(f"index-url = {PIP_KNOWS}") == PIP_KNOWS
    assert index(PIP_INDEX_URL=PIP_KNOWS) == PIP_KNOWS


def test_an_index_for_uv_takes_precedence(index):
    assert index(f"index-url = {PIP_KNOWS}", PIP_INDEX_URL=PIP_KNOWS, UV_DEFAULT_INDEX=UV_KNOWS) == UV_KNOWS


def test_without_any_index_the_installer_uses_its_own(index):
    assert index() == ""


def test_packages_are_installed_without_a_cache_where_none_can_be_made(tmp_path):
    (tmp_path / "file").touch()
    assert value_of("NO_CACHE", HOME=str(tmp_path)) == ""
    assert value_of("NO_CACHE", HOME=str(tmp_path / "file" / "nobody")) == "--no-cache"
    assert value_of("NO_CACHE", UV_CACHE_DIR=str(tmp_path / "file" / "cache")) == "--no-cache"
