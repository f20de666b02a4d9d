"""Folders for the spilled rows of queries. A lock on each folder shows whether a living process uses it.

Process numbers cannot, because containers that share a data directory number their processes separately.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

# If the data directory is read-only for the user, or its file system has no locks, rows are spilled elsewhere.
_NOT_HERE = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR),
    *(errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EWOULDBLOCK),
}


@contextlib.contextmanager
def spill_folder(scratch: Path) -> Iterator[Path]:
    """A folder below `scratch`. The end of the block removes it; after a kill, `remove_dead` does.

    If no folder can be created and locked there, it is below the system's folder for temporary files.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(_held_folder(scratch))
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            folder = stack.enter_context(temporary_folder())
        yield folder


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for this process only, outside the data directory."""
    with tempfile.TemporaryDirectory(prefix="phygitals-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def remove_dead(scratch: Path) -> None:
    """Removes the folders that no process holds."""
    for lock in scratch.glob("*.lock"):
        with contextlib.suppress(OSError):  # a process holds it, or has just removed it
            descriptor = os.open(lock, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink()
            finally:
                os.close(descriptor)
    # A folder is created after its lock and removed before it, so a folder without a lock is not in use.
    for folder in scratch.glob("*/"):
        if not _lock_of(folder).exists():
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _held_folder(scratch: Path) -> Iterator[Path]:
    scratch.mkdir(exist_ok=True)
    folder = scratch / uuid.uuid4().hex
    descriptor = os.open(_lock_of(folder), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o660)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, "was removed before it was held")
        folder.mkdir()
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            _lock_of(folder).unlink()
        os.close(descriptor)


def _lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")
