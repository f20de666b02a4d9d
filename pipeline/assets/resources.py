"""The resource through which assets reach the workspace, and the way errors reach people."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import dagster as dg
from pydantic import PrivateAttr

from pipeline.errors import PipelineError
from pipeline.polling.engine import Progress
from pipeline.workspace import Workspace


class WorkspaceResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Opens the workspace when a run needs it, so that definitions load whatever the settings are."""

    _on_progress: Callable[[Progress], None] | None = PrivateAttr(default=None)

    @classmethod
    def watched_by(cls, on_progress: Callable[[Progress], None]) -> WorkspaceResource:
        """A resource that reports polling progress to a watcher instead of the run's log."""
        resource = cls()
        resource._on_progress = on_progress
        return resource

    @property
    def on_progress(self) -> Callable[[Progress], None] | None:
        return self._on_progress

    @contextlib.contextmanager
    def open(self) -> Iterator[Workspace]:
        """The workspace. What stops the work fails the step with its one line, and is not retried."""
        try:
            yield Workspace.open()
        except PipelineError as error:
            # From None: the line says it all, and a person should not have to find it in a traceback.
            raise dg.Failure(str(error), allow_retries=False) from None
