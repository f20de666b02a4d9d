"""The installer of a clone, `.ci/uv`: uv set up as pip is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pipeline.settings import PROJECT_ROOT

OF_PIP = "https://pip.test/simple"
OF_UV = "https://uv.test/simple"
# Prints what uv is told; the path of its cache is that of uv without other settings.
UV = """#!/bin/sh
if [ "$*" = "cache dir" ]; then echo "${UV_CACHE_DIR:-$HOME/.cache/uv}"; exit; fi
echo "${UV_DEFAULT_INDEX-}|${SSL_CERT_FILE-unset}|${UV_NO_CACHE-}|$*"
"""


@pytest.fixture
def told(tmp_path):
    """What uv is told, by the lines of pip's configuration and the variables of the environment.

    The result is the package index, the certificate, whether to do without a cache, and the arguments.
    """
    programs = tmp_path / "clone" / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, script in (("uv", UV), ("pip", f'#!/bin/sh\nexec {sys.executable} -m pip "$@"\n')):
        (programs / name).write_text(script, encoding="utf-8")
        (programs / name).chmod(0o755)

    def run(*lines: str, **variables: str) -> list[str]:
        (tmp_path / "pip.conf").write_text("\n".join(["[global]", *lines]), encoding="utf-8")
        # The null device makes pip ignore the configuration of the machine, too.
        configuration = str(tmp_path / "pip.conf") if lines else os.devnull
        environment = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": configuration, **variables}
        shown = subprocess.run(
            [str(PROJECT_ROOT / ".ci" / "uv"), "pip", "install"],
            capture_output=True,
            text=True,
            cwd=programs.parents[1],
            env={"PATH": os.environ["PATH"], **environment},
            check=True,
        )
        return shown.stdout.strip().split("|")

    return run


def test_packages_come_from_the_index_that_pip_is_configured_to_use(told):
    assert told(f"index-url = {OF_PIP}")[0] == OF_PIP
    assert told(PIP_INDEX_URL=OF_PIP)[0] == OF_PIP
    assert told(f"index-url = {OF_PIP}", PIP_INDEX_URL=OF_PIP, UV_DEFAULT_INDEX=OF_UV)[0] == OF_UV


def test_the_index_is_trusted_by_the_certificate_that_pip_is_configured_to_use(told, tmp_path):
    certificate = str(tmp_path / "authority.pem")
    assert told(f"cert = {certificate}")[1] == certificate
    assert told(PIP_CERT=certificate)[1] == certificate
    assert told(f"cert = {certificate}", SSL_CERT_FILE="/other.pem")[1] == "/other.pem"


def test_packages_are_installed_without_a_cache_where_none_can_be_made(told, tmp_path):
    (tmp_path / "file").touch()
    assert told() == ["", "unset", "", "pip install"]
    assert told(HOME=str(tmp_path / "file" / "nobody"))[2] == "1"
    assert told(UV_CACHE_DIR=str(tmp_path / "file" / "cache"))[2] == "1"
