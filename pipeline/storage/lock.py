"""The writer lock of a data directory: one process writes at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pipeline.storage.errors import DataDirectoryError

_TRIES = 5
_BETWEEN_TRIES = 0.05  # seconds


class WriterLock:
    """A lock on a file in the protected directory. The operating system releases it when the process ends."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Holds the lock within the block.

        Raises DataDirectoryError at once if another process or WriterLock holds it, or if the file system has no locks.
        Raises OSError if the file cannot be opened.
        """
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o660)
        try:
            self._take(descriptor)
            yield
        finally:
            os.close(descriptor)

    def is_held(self) -> bool:
        """Whether a process holds the lock. Raises DataDirectoryError if the file system has no locks."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY)
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
                f"another run is writing to {self._path.parent} ({holder or 'just started'}): "
                "wait for it to end, or stop it"
            )
        # The note is only for people. If the disk is full, the writes that need space report it.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC".encode(), 0)

    def _without_locks(self, error: OSError) -> DataDirectoryError:
        return DataDirectoryError(
            f"the file system of {self._path.parent} does not lock files ({error.strerror}), so two runs could "
            "write at once: mount the share with locks, or set PHYGITALS_DATA_DIR to a local folder"
        )


def _locked(descriptor: int) -> bool:
    """Takes the lock. Retries briefly, because `is_held` of another process holds it for a moment."""
    for _ in range(_TRIES):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(_BETWEEN_TRIES)
    return False
