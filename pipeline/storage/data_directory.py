"""One environment's data directory: its paths, its objects, its lock, and the environment to which it is bound."""

from __future__ import annotations

import contextlib
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from pipeline.storage.errors import DataDirectoryError
from pipeline.storage.files import for_owner_and_group, replace_file
from pipeline.storage.layout import Layout
from pipeline.storage.local_folder import LocalFolder
from pipeline.storage.lock import WriterLock
from pipeline.storage.objects import Store
from pipeline.storage.parquet_query import has_literal_path
from pipeline.storage.spill import remove_dead


class DataDirectory(Layout):
    """The paths of one environment's data, with its objects (`store`) and its lock.

    Code that only needs paths takes a `Layout`; code that only reads or writes objects takes a `Store`.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.store = Store(LocalFolder(root))
        self._lock = WriterLock(self.lock_file)
        self._is_held = False

    def claim(self, environment: str, api_url: str) -> None:
        """Creates the directory if it is missing, and binds it to one environment and API URL.

        The binding is permanent once the directory contains submissions or answers. An empty directory may be bound
        anew. Raises DataDirectoryError if the directory is bound to another environment or URL, is not writable, or has
        a path that DuckDB cannot open.
        """
        if not has_literal_path(str(self.root)):
            raise DataDirectoryError(
                f"the data directory {self.root} cannot be used: DuckDB opens no path with both a backslash and "
                "one of *, ? and [; set PHYGITALS_DATA_DIR to another one"
            )
        mine = {"environment": environment, "api_url": api_url}
        with self._usable(), for_owner_and_group():
            self.offer_inbox()
            self.scratch.mkdir(exist_ok=True)
            theirs = self._bound_to()
            if theirs is None or (theirs != mine and self._holds_nothing() and not self.is_being_written()):
                replace_file(self.environment_file, json.dumps(mine, indent=2) + "\n")
                theirs = self._bound_to()  # if two processes bind it at once, the later one wins
        if theirs != mine:
            raise self._anothers(theirs, mine)

    def check(self, environment: str, api_url: str) -> None:
        """Raises DataDirectoryError if `claim` would refuse the environment and the API URL. Changes nothing."""
        mine = {"environment": environment, "api_url": api_url}
        with self._usable():
            theirs = self._bound_to()
            is_anothers = theirs not in (None, mine) and not self._holds_nothing()
        if is_anothers:
            raise self._anothers(theirs, mine)

    def _anothers(self, theirs: dict[str, str] | None, mine: dict[str, str]) -> DataDirectoryError:
        names = ["{environment} at {api_url}".format_map(defaultdict(str, bound or {})) for bound in (theirs, mine)]
        return DataDirectoryError(
            f"the data directory {self.root} holds data of {names[0]}, not of {names[1]}: "
            "set PHYGITALS_DATA_DIR to another one"
        )

    def offer_inbox(self) -> None:
        """Creates the inbox without binding the directory. Raises DataDirectoryError."""
        with self._usable(), for_owner_and_group():
            self.inbox.mkdir(parents=True, exist_ok=True)

    def _bound_to(self) -> dict[str, str] | None:
        try:
            bound: object = json.loads(self.environment_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            bound = None
        if not isinstance(bound, dict) or not bound.keys() >= {"environment", "api_url"}:
            raise DataDirectoryError(
                f"{self.environment_file} is damaged, so the environment of these data is unknown: "
                "restore it from a backup"
            )
        return bound

    def _holds_nothing(self) -> bool:
        """Whether there are no submissions and no answers. Everything else is derived from these."""

        def unreadable(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                raise error

        return not any(
            names or any(Path(folder, name).is_symlink() for name in folders)
            for top in (self.inbox, self.sellbacks, self.raw)
            for folder, folders, names in os.walk(top, onerror=unreadable)
        )

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Holds the lock. The operating system releases it when the process ends, even after a kill.

        Blocks of the same DataDirectory may be nested. Raises DataDirectoryError at once if another process or
        DataDirectory holds the lock, or if the directory is missing or not writable.
        """
        if self._is_held:
            yield
            return
        if not self.root.is_dir():
            raise DataDirectoryError(
                f"{self.root} does not exist yet: create it with `phygitals submit` or `phygitals refresh`"
            )
        with contextlib.ExitStack() as held:
            with self._usable():
                held.enter_context(self._lock.hold())
                self._is_held = True
                held.callback(self._released)
                self.store.sweep()
                remove_dead(self.scratch)
            with for_owner_and_group():
                yield

    def is_being_written(self) -> bool:
        """Whether a process holds the lock."""
        return self._lock.is_held()

    def _released(self) -> None:
        self._is_held = False

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataDirectoryError(
                f"the data directory {self.root} cannot be used: {error.strerror}; "
                "make it writable or set PHYGITALS_DATA_DIR to another one"
            ) from error
