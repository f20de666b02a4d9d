"""What `make setup` tells the installer."""

from __future__ import annotations

import os
import subprocess

import pytest

from pipeline.settings import PROJECT_ROOT

PIP_KNOWS = "https://pip.test/simple"
UV_KNOWS = "https://uv.test/simple"


@pytest.fixture
def index(tmp_path):
    """The package index that uv gets, by the variables of the environment and the lines of pip's configuration."""

    def given(*lines: str, **variables: str) -> str:
        (tmp_path / "pip.conf").write_text("\n".join(["[global]", *lines]), encoding="utf-8")
        environment = {"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), **variables}
        command = ["make", "--silent", '--eval=index: ; @echo "$(INDEX)"', "index"]
        shown = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT_ROOT, env=environment, check=True)
        return shown.stdout.strip()

    return given


def test_packages_come_from_the_index_that_pip_is_configured_to_use(index):
    assert index(f"index-url = {PIP_KNOWS}") == PIP_KNOWS
    assert index(PIP_INDEX_URL=PIP_KNOWS) == PIP_KNOWS


def test_an_index_for_uv_takes_precedence(index):
    assert index(f"index-url = {PIP_KNOWS}", PIP_INDEX_URL=PIP_KNOWS, UV_DEFAULT_INDEX=UV_KNOWS) == UV_KNOWS


def test_without_any_index_the_installer_uses_its_own(index):
    assert index() == ""
