"""Serves the simulator, or fills the local inbox with a month of simulated submissions."""

from __future__ import annotations

import signal

from pipeline.cli.console import say
from pipeline.clock import now
from pipeline.errors import PipelineError
from pipeline.report.wording import counted
from pipeline.simulator.history import DAYS, write_history
from pipeline.simulator.server import Simulator
from pipeline.simulator.service import serve
from pipeline.sources.inbox import Inbox
from pipeline.sources.kinds import SESSIONS
from pipeline.steps import Workspace


class SimulationError(PipelineError):
    """The simulator cannot serve, or cannot write submissions to this environment."""


def serve_until_interrupted(simulator: Simulator, port: int) -> None:
    """Serves on the port until SIGINT or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with serve(simulator, port) as url:
            say(f"Simulating {simulator.mode} at {url}{simulator.prefix}; Ctrl-C stops it.")
            signal.pause()
    except KeyboardInterrupt:
        say("Stopped.")
    except OSError as error:
        raise SimulationError(f"port {port} cannot be used: {error.strerror}; choose another with --port") from error


def submit_history(workspace: Workspace, session_count: int) -> str:
    """Writes simulated submissions in the environment `local`; returns a line with their number.

    Raises SimulationError in other environments.
    """
    if workspace.settings.env != "local":
        raise SimulationError("simulated submissions are allowed only with PHYGITALS_ENV=local")
    if Inbox(workspace.data, SESSIONS).files():
        return f"{workspace.data.inbox} already has files; nothing was added."
    with workspace.data.exclusive():
        write_history(workspace.data, session_count, now())
    return f"{counted(session_count, 'submission')} of the last {DAYS} days -> {workspace.data.inbox}"
