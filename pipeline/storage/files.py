"""How files come into being: for whom they can be read, what they take over from those they replace, how they last."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from pipeline.storage.errors import DataDirectoryError

_NO_SYNC_OF_FOLDERS = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EBADF}


@contextlib.contextmanager
def for_owner_and_group() -> Iterator[None]:
    """Within the block, the process creates files and folders that others cannot read, and no wider than its umask."""
    umask = os.umask(0o077)  # there is no reading it without setting it
    os.umask(umask | 0o007)
    try:
        yield
    finally:
        os.umask(umask)


def open_for_owner_and_group(path: str, flags: int) -> int:
    """The same for one file, as the `opener` of `open`."""
    return os.open(path, flags, 0o660)


def place_of(path: Path) -> Path:
    """Where a file lies that is to be replaced: where somebody put a link in its place, that to which it leads."""
    return path.resolve() if path.is_symlink() else path


def keep_access(made: Path, former: Path) -> None:
    """Gives a new file the mode and the group of the one that it is about to replace, as far as the system allows."""
    try:
        wanted = former.stat()
    except FileNotFoundError:
        return
    # Whether a group may be given, and whether there are modes at all, depends on the user and on the file system.
    if made.stat().st_gid != wanted.st_gid:
        with contextlib.suppress(OSError):
            os.chown(made, -1, wanted.st_gid)
    with contextlib.suppress(OSError):
        made.chmod(stat.S_IMODE(wanted.st_mode))


def sync(path: str | Path) -> None:
    """Makes a file, or the entries of a folder, survive a power cut, as far as the file system can do so.

    Network shares, and Windows' disks as WSL shows them, cannot for folders.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC_OF_FOLDERS or not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise
    finally:
        os.close(descriptor)


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
