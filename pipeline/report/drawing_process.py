"""Draws the report in a separate process, which is started in advance.

The drawing libraries take a second to load. A run that needs them starts this process early and builds its tables
meanwhile, on another core. `python -m pipeline.report.drawing_process` is that process: it loads the libraries, reads
one order from standard input, and answers on standard output, each as one line of JSON.

It runs without Python's optimization, because the drawing library needs its docstrings to load.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeline.errors import PipelineError
from pipeline.report import ReportError
from pipeline.storage.layout import Layout


class DrawingProcess:
    """A process that loads the drawing libraries. Use as a context manager: it ends with the block."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.report.drawing_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env={name: value for name, value in os.environ.items() if name != "PYTHONOPTIMIZE"},
            start_new_session=True,  # Ctrl-C at the terminal goes to the run only, which ends this process
        )

    def __enter__(self) -> DrawingProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def draw(self, data: Layout, environment: str, moment: dt.datetime) -> Path:
        """Writes the report from the published file and returns its path. May be called once. Raises ReportError."""
        place = {"root": str(data.root), "memory_limit": data.memory_limit}
        order = json.dumps({**place, "environment": environment, "moment": moment.isoformat()})
        answer, _ = self._process.communicate(order + "\n")
        if not answer:
            raise ReportError(
                f"the tables are published, but the report's drawing process ended with code "
                f"{self._process.returncode}: run `phygitals report`"
            )
        if problem := json.loads(answer)["error"]:
            raise ReportError(problem)
        return data.report


def _serve() -> None:
    from pipeline.report.drawing import warm_up
    from pipeline.report.page import write_report

    warm_up()
    line = sys.stdin.readline()
    if not line:
        return  # the run ended without a report
    order: dict[str, Any] = json.loads(line)
    problem = None
    try:
        data = Layout(Path(order["root"]), order["memory_limit"])
        write_report(data, order["environment"], dt.datetime.fromisoformat(order["moment"]))
    except PipelineError as error:
        problem = str(error)
    print(json.dumps({"error": problem}), flush=True)


if __name__ == "__main__":
    _serve()
