"""The resource through which assets reach the workspace, and the way errors reach people."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import dagster as dg

from pipeline.errors import PipelineError
from pipeline.polling.progress import Progress
from pipeline.workspace import Workspace


@dataclass(frozen=True)
class WorkspaceResource:
    """Opens the workspace when a run needs it, so that definitions load whatever the settings are.

    Where somebody watches the run, `on_line` and `on_progress` are told what its log is told.
    """

    on_line: Callable[[str], None] = lambda _line: None
    on_progress: Callable[[Progress], None] = lambda _progress: None

    @contextlib.contextmanager
    def open(self) -> Iterator[Workspace]:
        """The workspace. What stops the work fails the step with its one line, and is not retried."""
        try:
            yield Workspace.open()
        except PipelineError as error:
            # From None: the line says it all, and a person should not have to find it in a traceback.
            raise dg.Failure(str(error), allow_retries=False) from None
