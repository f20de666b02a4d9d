"""The data directory: its layout, its identity, and the lock that keeps it to one writer."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.lake.parquet_query import has_literal_path
from pipeline.lake.store import Store

_TRIES = 5
_BETWEEN_TRIES = 0.05  # seconds


class DataDirectoryError(PipelineError):
    """The data directory cannot be used: another environment's, locked, or not writable."""


class DataDirectory:
    """One environment's data, below `root`.

    `inbox/` and `reference/` are the users'; `raw/`, `staging/`, `lake/`, `phygitals.duckdb` and `report.html` are
    written by the pipeline.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.inbox = root / "inbox"
        self.packs_file = root / "reference" / "packs.csv"
        self.warehouse = root / "phygitals.duckdb"
        self.report = root / "report.html"
        self.journal = root / "raw" / "status_responses" / ".journal"
        self.inbox_index = root / "staging" / "inbox_index.json"
        self.scratch = root / ".scratch"
        self.store = Store(root.as_uri())
        self._identity = root / "environment.json"
        self._lock = root / ".lock"
        self._is_held = False

    def claim(self, environment: str, api_url: str) -> None:
        """Makes the directory if need be and binds it to one environment and API URL, for good.

        Raises DataDirectoryError when it is bound to others, cannot be written, or has a path that DuckDB cannot open.
        """
        if not has_literal_path(str(self.root)):
            raise DataDirectoryError(
                f"the data directory {self.root} cannot be used: DuckDB opens no path with both a backslash and "
                "one of *, ? and [; set PHYGITALS_DATA_DIR to another one"
            )
        mine = {"environment": environment, "api_url": api_url}
        try:
            with self._usable():
                self.inbox.mkdir(parents=True, exist_ok=True)
                self.scratch.mkdir(exist_ok=True)
                if not self._identity.exists():
                    replace_file(self._identity, json.dumps(mine, indent=2) + "\n")
                theirs = json.loads(self._identity.read_text(encoding="utf-8"))
            if not isinstance(theirs, dict) or not theirs.keys() >= mine.keys():
                raise ValueError("it names no environment and API URL")
        except ValueError as error:
            raise DataDirectoryError(
                f"{self._identity} is damaged, and does not tell whose data this is: restore it from a backup"
            ) from error
        if theirs != mine:
            raise DataDirectoryError(
                f"the data directory {self.root} holds data of {theirs.get('environment')} at "
                f"{theirs.get('api_url')}, not of {environment} at {api_url}: set PHYGITALS_DATA_DIR to another one"
            )

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Holds the right to write. The operating system frees it when the process ends, however it ends.

        Within a block, further blocks of the same DataDirectory are part of it. Raises DataDirectoryError
        at once when another process, or another DataDirectory in this one, holds the right, or nobody may write.
        """
        if self._is_held:
            yield
            return
        with self._usable():
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            self._take(descriptor)
            self._is_held = True
            with self._usable():
                self.store.sweep()
                self._remove_dead_spill()
            yield
        finally:
            self._is_held = False
            os.close(descriptor)

    def new_spill_folder(self) -> Path:
        """A name for a folder of this process, that is removed once the process is gone, at the latest."""
        return self.scratch / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"

    def _remove_dead_spill(self) -> None:
        for folder in self.scratch.glob("*-*"):
            process = folder.name.partition("-")[0]
            if process.isdecimal() and not _is_alive(int(process)):
                shutil.rmtree(folder, ignore_errors=True)

    def is_being_written(self) -> bool:
        """Whether some process holds the right to write."""
        try:
            descriptor = os.open(self._lock, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def _take(self, descriptor: int) -> None:
        if not _locked(descriptor):
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip()
            raise DataDirectoryError(
                f"another run is writing to {self.root} ({holder or 'just started'}): wait for it to end, or stop it"
            )
        # It is a note for people; a full disk is told of by whoever needs room.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC".encode(), 0)

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataDirectoryError(
                f"the data directory {self.root} cannot be used: {error.strerror}; "
                "make it writable or set PHYGITALS_DATA_DIR to another one"
            ) from error


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's
    return True


def _locked(descriptor: int) -> bool:
    """Takes the lock, unless it is held for longer than somebody takes to look whether it is."""
    for _ in range(_TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(_BETWEEN_TRIES)
    return False


def replace_file(path: Path, content: str | bytes) -> None:
    """Writes a small file whole, text as UTF-8: readers see the old one or the new one. Raises DataDirectoryError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise DataDirectoryError(
            f"{path} could not be written: {error.strerror}; what was there before is untouched: "
            "make room or mend the permissions, then run again"
        ) from error
