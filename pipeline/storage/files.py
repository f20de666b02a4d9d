"""Creation of files: permissions, replacement, and durability."""

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
    """Within the block, new files and folders are closed to other users, in addition to the process's umask."""
    umask = os.umask(0o077)  # the umask can be read only by setting it
    os.umask(umask | 0o007)
    try:
        yield
    finally:
        os.umask(umask)


def open_for_owner_and_group(path: str, flags: int) -> int:
    """The `opener` of `open` for one new file that is closed to other users."""
    return os.open(path, flags, 0o660)


def place_of(path: Path) -> Path:
    """The path at which to replace a file: the link's target if the path is a symbolic link."""
    return path.resolve() if path.is_symlink() else path


def keep_access(made: Path, former: Path) -> None:
    """Gives a new file the mode and group of the file that it will replace, as far as the system allows."""
    try:
        wanted = former.stat()
    except FileNotFoundError:
        return
    # The user may lack the right to set the group, and the file system may have no modes.
    if made.stat().st_gid != wanted.st_gid:
        with contextlib.suppress(OSError):
            os.chown(made, -1, wanted.st_gid)
    with contextlib.suppress(OSError):
        made.chmod(stat.S_IMODE(wanted.st_mode))


def sync(path: str | Path) -> None:
    """Makes a file, or the entries of a folder, survive a power cut, as far as the file system supports this.

    Network shares, and Windows disks mounted in WSL, do not support it for folders.
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
    """Replaces a small file atomically; text is encoded as UTF-8. Raises DataDirectoryError.

    A new file is readable by owner and group only. A replaced file keeps its mode, its group and links to it.
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
            f"{path} could not be written: {error.strerror}; its former content is unchanged: "
            "free some space or correct the permissions, then run again"
        ) from error
