"""Folders in which queries put rows aside, each held by a lock, so that those of dead processes are told from others.

A process number would not tell: two containers that share a data directory count their processes apart.
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

# Whoever may only read the data directory, and a file system without locks: rows are put aside elsewhere.
_NOT_HERE = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR),
    *(errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EWOULDBLOCK),
}


@contextlib.contextmanager
def spill_folder(scratch: Path) -> Iterator[Path]:
    """A folder below `scratch` that is removed at the end of the block, or after a kill by `remove_dead`.

    Where none can be made and locked there, one of the system's folder for temporary files.
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
    """A folder of this process alone, outside of the data directory."""
    with tempfile.TemporaryDirectory(prefix="phygitals-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def remove_dead(scratch: Path) -> None:
    """Removes the folders that no process holds."""
    for lock in scratch.glob("*.lock"):
        with contextlib.suppress(OSError):  # it is held, or just removed by its holder
            descriptor = os.open(lock, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink()
            finally:
                os.close(descriptor)
    # A folder is made after its lock and removed before it, so one without a lock is nobody's.
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
