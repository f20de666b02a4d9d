"""The data directory: its layout, its identity, and its writer lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.storage.files import for_owner_and_group, keep_access, open_for_owner_and_group, place_of
from pipeline.storage.objects import Store
from pipeline.storage.parquet_query import has_literal_path
from pipeline.storage.spill import remove_dead, spill_folder

_TRIES = 5
_BETWEEN_TRIES = 0.05  # seconds


class DataDirectoryError(PipelineError):
    """The data directory cannot be used: another environment's, locked, or not writable."""


class DataDirectory:
    """One environment's data, below `root`.

    `inbox/`, `sellbacks/` and `reference/` are the users'; `raw/`, `staging/`, `lake/`, `phygitals.duckdb` and
    `report.html` are written by the pipeline.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.inbox = root / "inbox"
        self.sellbacks = root / "sellbacks"
        self.packs_file = root / "reference" / "packs.csv"
        self.warehouse = root / "phygitals.duckdb"
        self.report = root / "report.html"
        self.journal = root / "raw" / "status_responses" / ".journal"
        self.inbox_index = root / "staging" / "inbox_index.json"
        self.scratch = root / ".scratch"
        self.store = Store(root)
        self._identity = root / "environment.json"
        self._lock = root / ".lock"
        self._is_held = False

    def claim(self, environment: str, api_url: str) -> None:
        """Makes the directory if need be and binds it to one environment and API URL.

        That is for good once something was submitted to it or received into it; until then it may be bound anew.
        Raises DataDirectoryError when it is bound to others, cannot be written, or has a path that DuckDB cannot open.
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
                replace_file(self._identity, json.dumps(mine, indent=2) + "\n")
                theirs = self._bound_to()  # of two that bind it at once, the one that came later has it
        if theirs != mine:
            raise self._anothers(theirs, mine)

    def check(self, environment: str, api_url: str) -> None:
        """Raises DataDirectoryError where `claim` would for the environment and the API URL. Changes nothing."""
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
        """Makes the inbox, for people to drop files into, and binds nothing. Raises DataDirectoryError."""
        with self._usable(), for_owner_and_group():
            self.inbox.mkdir(parents=True, exist_ok=True)

    def _bound_to(self) -> dict[str, str] | None:
        try:
            bound: object = json.loads(self._identity.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            bound = None
        if not isinstance(bound, dict) or not bound.keys() >= {"environment", "api_url"}:
            raise DataDirectoryError(
                f"{self._identity} is damaged, and does not tell whose data this is: restore it from a backup"
            )
        return bound

    def _holds_nothing(self) -> bool:
        """Whether nothing was submitted and nothing received; everything else is derived from these."""

        def unreadable(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                raise error

        return not any(
            names or any(Path(folder, name).is_symlink() for name in folders)
            for top in (self.inbox, self.sellbacks, self.root / "raw")
            for folder, folders, names in os.walk(top, onerror=unreadable)
        )

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Holds the lock. The operating system frees it when the process ends, however it ends.

        Blocks of the same DataDirectory may be nested. Raises DataDirectoryError
        at once if another process or DataDirectory holds the lock, or the directory is not writable.
        """
        if self._is_held:
            yield
            return
        if not self.root.is_dir():
            raise DataDirectoryError(
                f"{self.root} does not exist yet: `phygitals submit` or `phygitals refresh` makes it"
            )
        with self._usable():
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o660)
        try:
            self._take(descriptor)
            self._is_held = True
            with self._usable():
                self.store.sweep()
                remove_dead(self.scratch)
            with for_owner_and_group():
                yield
        finally:
            self._is_held = False
            os.close(descriptor)

    def spill_folder(self) -> contextlib.AbstractContextManager[Path]:
        """A folder for what a query puts aside, removed at the end of the block, or by the next writer after a kill."""
        return spill_folder(self.scratch)

    def is_being_written(self) -> bool:
        """Whether a process holds the lock."""
        try:
            descriptor = os.open(self._lock, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError as error:
            raise self._without_locks(error) from error
        finally:
            os.close(descriptor)
        return False

    def _take(self, descriptor: int) -> None:
        try:
            is_ours = _locked(descriptor)
        except OSError as error:
            raise self._without_locks(error) from error
        if not is_ours:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            raise DataDirectoryError(
                f"another run is writing to {self.root} ({holder or 'just started'}): wait for it to end, or stop it"
            )
        # Only a note for people; a full disk is reported by the writes that need space.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC".encode(), 0)

    def _without_locks(self, error: OSError) -> DataDirectoryError:
        return DataDirectoryError(
            f"the file system of {self.root} does not lock files ({error.strerror}), and without locks two runs could "
            "write at once: mount the share with locks, or set PHYGITALS_DATA_DIR to a folder on a local disk"
        )

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataDirectoryError(
                f"the data directory {self.root} cannot be used: {error.strerror}; "
                "make it writable or set PHYGITALS_DATA_DIR to another one"
            ) from error


def _locked(descriptor: int) -> bool:
    """Takes the lock; retries briefly, because `is_being_written` holds it for a moment."""
    for _ in range(_TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(_BETWEEN_TRIES)
    return False


def replace_file(path: Path, content: str | bytes) -> None:
    """Writes a small file whole, text as UTF-8: readers see the old one or the new one. Raises DataDirectoryError.

    A new file is for owner and group only; one that is replaced keeps its mode, its group and a link to it.
    """
    place = place_of(path)
    temporary = place.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb", opener=open_for_owner_and_group) as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            keep_access(temporary, place)
            os.fsync(file.fileno())
        temporary.replace(place)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise DataDirectoryError(
            f"{path} could not be written: {error.strerror}; what was there before is untouched: "
            "make room or mend the permissions, then run again"
        ) from error
