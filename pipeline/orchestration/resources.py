"""The workspace resource of assets, and the translation of errors into Dagster failures."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator

import dagster as dg

from pipeline.clock import now
from pipeline.errors import PipelineError
from pipeline.orchestration.dead_runs import await_lease
from pipeline.orchestration.instance import kept_open
from pipeline.orchestration.run_history import DATA_DIRECTORY, ENVIRONMENT, HOST, LAKE_URL, LEASE_HOLDER
from pipeline.polling.progress import Progress
from pipeline.quality.checker import Checker
from pipeline.report.wording import escape_controls
from pipeline.settings import EnvironmentSetting
from pipeline.steps import Workspace
from pipeline.storage.connection import explained
from pipeline.storage.data_directory import DataDirectory

_LONGEST_WORDS = 500
_RETRY = "dagster/retry_number"  # the tag of a run with which the daemon replaces a failed one


class WorkspaceResource:
    """The workspace of one run, opened when a step needs it, so that definitions load with invalid settings, too.

    The first writing step calls `before_lock`, takes the lock and calls `on_lock`; the run keeps the lock to its end,
    so no other writer comes between two steps. `on_line` and `on_progress` receive lines and progress of a run with a
    watcher.
    """

    def __init__(
        self,
        on_line: Callable[[str], None],
        on_progress: Callable[[Progress], None],
        on_lock: Callable[[DataDirectory], None] = lambda _data: None,
        before_lock: Callable[[DataDirectory], None] = lambda _data: None,
    ) -> None:
        self.on_line = on_line
        self.on_progress = on_progress
        self._on_lock = on_lock
        self._before_lock = before_lock
        self._workspace: Workspace | None = None
        self._checker: Checker | None = None
        self._held = contextlib.ExitStack()

    @contextlib.contextmanager
    def open(self) -> Iterator[Workspace]:
        """The workspace for writing. An error fails the step with its one-line message and is not retried."""
        with as_dagster_failure():
            if self._workspace is None:
                workspace = Workspace.open()
                self._before_lock(workspace.data)
                self._held.enter_context(workspace.data.exclusive())
                self._on_lock(workspace.data)
                self._workspace = workspace
            with explained(self._workspace.data):
                yield self._workspace

    @contextlib.contextmanager
    def read(self) -> Iterator[Workspace]:
        """The workspace for reading; needs no lock."""
        with as_dagster_failure():
            opened = self._workspace or Workspace.open_for_reading()
            with explained(opened.data):
                yield opened

    def checker(self, opened: Workspace) -> Checker:
        """The run's checker, shared by its steps."""
        if self._checker is None:
            self._checker = self._held.enter_context(Checker(opened.data, now))
        return self._checker

    def close(self) -> None:
        """Closes the checker and releases the lock."""
        self._held.close()


def workspace_resource(
    on_line: Callable[[str], None] = lambda _line: None,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
) -> dg.ResourceDefinition:
    """The definition: one WorkspaceResource per run."""

    @dg.resource(description="The data directory of one environment, with its settings.")
    def workspace(context: dg.InitResourceContext) -> Iterator[WorkspaceResource]:
        def tag_run(data: DataDirectory) -> None:
            if context.instance and context.run:
                where = {ENVIRONMENT: EnvironmentSetting.name(), HOST: socket.gethostname()}
                tags = where | {DATA_DIRECTORY: str(data.root)}
                if data.lake_url and data.lease_holder:
                    tags |= {LAKE_URL: data.lake_url, LEASE_HOLDER: data.lease_holder}
                context.instance.add_run_tags(context.run.run_id, tags)

        def await_former_run(data: DataDirectory) -> None:
            if context.run and _RETRY in context.run.tags:
                await_lease(data)

        with contextlib.ExitStack() as stack:
            if context.instance and context.run:
                stack.enter_context(kept_open(context.instance, context.run.run_id))
            resource = WorkspaceResource(on_line, on_progress, tag_run, await_former_run)
            yield stack.enter_context(contextlib.closing(resource))

    return workspace


@contextlib.contextmanager
def as_dagster_failure() -> Iterator[None]:
    """Within the block, an error becomes a Dagster failure with one line, and is not retried."""
    try:
        yield
    except dg.Failure:
        raise
    except PipelineError as error:
        # From None: the line is the whole message, and a traceback would hide it.
        raise dg.Failure(escape_controls(str(error)), allow_retries=False) from None
    except Exception as error:
        words = escape_controls(" ".join(str(error).split()))[:_LONGEST_WORDS]
        raise dg.Failure(
            f"{type(error).__name__}: {words} (this is unexpected: start the run again; if it fails again, report the "
            "error on its page)",
            allow_retries=False,
        ) from error
