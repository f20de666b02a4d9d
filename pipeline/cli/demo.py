"""The demonstration: a month of invented purchases, resolved against the bundled simulator."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from pipeline.cli.console import say
from pipeline.cli.simulate import submit_history
from pipeline.steps import Workspace
from pipeline.storage.data_directory import DataDirectory

_POLL_BUDGET = "12"  # seconds; twice what the default number of sessions needs on two cores


def open_demo(session_count: int) -> Workspace:
    """The workspace of `local`, with that many submissions in its inbox. Sets the environment of this process."""
    os.environ["PHYGITALS_ENV"] = "local"
    budget = os.environ.setdefault("PHYGITALS_POLL_BUDGET", _POLL_BUDGET)
    workspace = Workspace.open()
    say(submit_history(workspace, session_count))
    say(f"Polling the bundled simulator for at most {budget} s, then building the tables")
    return workspace


def next_steps(data: DataDirectory) -> Iterator[str]:
    """What to do after the demonstration, one line each."""
    program = _program()
    yield ""
    yield "What to do next:"
    yield f"  open the report in a browser:  {data.report.as_uri()}"
    yield f'  ask a question:                {program} query "FROM pack_economics"'
    if find_spec("marimo"):
        yield f"  explore in a browser:          {program} explore"
    yield f"  open the Dagster UI:           {program} dev"


def _program() -> str:
    """The words that start this program in this shell."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "phygitals" and not shutil.which("phygitals") else "phygitals"
