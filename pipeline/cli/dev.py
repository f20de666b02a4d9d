"""Starts Dagster's UI and daemon on this machine."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

from pipeline.cli.console import say
from pipeline.errors import PipelineError
from pipeline.orchestration import instance as instance_module
from pipeline.settings import PROJECT_ROOT

# Dagster's advice to use `dg dev`, which an installed project cannot follow.
_NO_ADVICE = "ignore:Function `dev_command` is superseded"


class DevError(PipelineError):
    """The UI cannot be served."""


def serve_dagster(port: int) -> NoReturn:
    """Replaces this process by `dagster dev` in the project folder, on loopback.

    The workspace is the project's `workspace.yaml`, or the package's own where there is none. Raises DevError if the
    port is not free.
    """
    try:  # Dagster's daemon would go on without the UI
        socket.create_server(("127.0.0.1", port)).close()
    except OSError as error:
        raise DevError(f"127.0.0.1:{port} cannot be used: {error.strerror}; choose another --port") from error
    # The processes of `dagster dev` would make the databases of a fresh history together, which damages them.
    with instance_module.recorded_runs() as instance:
        instance_module.upgrade(instance)
    workspace = PROJECT_ROOT / "workspace.yaml"
    if not workspace.exists():
        workspace = Path(instance_module.__file__).with_name("workspace.yaml")
    os.chdir(PROJECT_ROOT)
    say(f"Dagster UI: http://127.0.0.1:{port} (Ctrl-C ends it)")
    # At level info the daemon logs every tick of every sensor that has nothing to do.
    options = ["-h", "127.0.0.1", "-p", str(port), "-w", str(workspace), "--log-level", "warning"]
    command = [sys.executable, "-W", _NO_ADVICE, "-m", "dagster", "dev", *options]
    os.execv(sys.executable, command)  # noqa: S606 - no shell is wanted
