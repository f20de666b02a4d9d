"""Lists the files of a folder that intake reads, and opens them safely.

A symbolic link is followed only if its target is inside the folder; otherwise the lines of any file could be sent to
the API. Files are opened folder by folder without following links, so a link that is swapped in after the listing is
not followed either.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from pipeline.errors import PipelineError
from pipeline.storage.object_storage import Entry

# Hidden files, lock files of office programs, unfinished downloads and uploads, and Windows' notes about downloads.
_IGNORED = re.compile(
    r"(?:\.|~\$).*|.*\.(?:tmp|part|partial|filepart|download|crdownload)|.*:Zone\.Identifier.*",
    re.IGNORECASE | re.DOTALL,
)


_TRIED_AGAIN = "the next run tries again"
_LEADS_OUT = "it is a link to a place outside the folder {} and is not followed; put the file itself there"


class UnavailableFileError(PipelineError):
    """The file cannot be read now. The message is the reason and the remedy; the caller names the file."""


@dataclass(frozen=True, order=True)
class InboxFile:
    """A file of the folder as the directory listing shows it. `name` is its path below the folder."""

    name: str
    size: int
    mtime_ns: int

    @property
    def shown(self) -> str:
        """The name for people and tables."""
        return printable(self.name)

    @property
    def stamp(self) -> str:
        """Changes when the file's size or modification time does."""
        return f"{self.size}:{self.mtime_ns}"


@dataclass
class Listing:
    """The files to read, sorted by name, and for each other file the reason for which it is left."""

    files: list[InboxFile] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)


def listing(folder: Path) -> Listing:
    """The regular files below the folder that are neither hidden nor unfinished. Opens none of them.

    Each folder is listed once, even if links lead to it. A missing folder counts as empty.
    """
    if not os.path.lexists(folder):
        return Listing()
    walk = _Walk(folder)
    walk.look_into("", walk.root)
    while walk.linked_folders:
        walk.look_into(*walk.linked_folders.pop(0))
    walk.found.files.sort()
    return walk.found


def listing_of(objects: Iterable[Entry]) -> Listing:
    """The same of the objects in a folder of an object store."""
    found = Listing()
    for entry in objects:
        name = entry.key.partition("/")[2]
        if not any(is_ignored(part) for part in name.split("/")):
            found.files.append(InboxFile(name, entry.size, entry.modified_ns))
    found.files.sort()
    return found


class _Walk:
    """A walk through the folder; linked folders come last."""

    def __init__(self, folder: Path) -> None:
        self.root = os.path.realpath(folder)
        self._name = folder.name
        self.found = Listing()
        self.linked_folders: list[tuple[str, str]] = []
        self._seen: set[str] = set()

    def look_into(self, name: str, real: str) -> None:
        """Lists the folder of that name, whose real path is `real`, and the folders below it."""
        waiting = [(name, real)]
        while waiting:
            name, real = waiting.pop()
            if real in self._seen:
                continue
            self._seen.add(real)
            try:
                with os.scandir(real) as entries:
                    inside = [entry for entry in entries if not is_ignored(entry.name)]
            except OSError as error:
                self._leave(name or ".", f"the folder cannot be opened: {error.strerror}; {_TRIED_AGAIN}")
                continue
            for entry in sorted(inside, key=lambda entry: entry.name):
                path = f"{name}/{entry.name}" if name else entry.name
                with contextlib.suppress(OSError):  # renamed since the listing; the next run finds it
                    if entry.is_symlink():
                        self._follow(path, entry.path)
                    elif entry.is_dir():
                        waiting.append((path, entry.path))
                    else:
                        self._note(path, entry.stat())

    def _follow(self, name: str, link: str) -> None:
        try:
            real = os.path.realpath(link, strict=True)
            status = Path(real).stat()
        except OSError as error:
            self._leave(name, f"the link cannot be followed: {error.strerror}; {_TRIED_AGAIN}")
            return
        if not Path(real).is_relative_to(self.root):
            self._leave(name, _LEADS_OUT.format(self._name))
        elif S_ISDIR(status.st_mode):
            self.linked_folders.append((name, real))
        else:
            self._note(name, status)

    def _note(self, name: str, status: os.stat_result) -> None:
        if S_ISREG(status.st_mode):
            self.found.files.append(InboxFile(name, status.st_size, status.st_mtime_ns))
        else:
            self._leave(name, f"it is not a regular file; put a file there, and {_TRIED_AGAIN}")

    def _leave(self, name: str, reason: str) -> None:
        self.found.left[printable(name)] = reason


def open_file(folder: Path, file: InboxFile) -> BufferedReader:
    """Opens a listed file; read its content through this handle only. Raises UnavailableFileError."""
    root = os.path.realpath(folder)
    try:
        real = Path(os.path.realpath(folder / file.name, strict=True))
        if not real.is_relative_to(root):
            raise UnavailableFileError(_LEADS_OUT.format(folder.name))
        opened = os.fdopen(_open_below(root, real.relative_to(root).parts), "rb")
    except OSError as error:
        raise UnavailableFileError(cannot_be_read(error)) from error
    if not S_ISREG(os.fstat(opened.fileno()).st_mode):
        opened.close()
        raise UnavailableFileError(f"it is no longer a regular file; {_TRIED_AGAIN}")
    return opened


def _open_below(root: str, parts: tuple[str, ...]) -> int:
    """The descriptor of a file below a folder, opened without following a link or blocking on a pipe."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)


def cannot_be_read(error: OSError | MemoryError) -> str:
    """The message about an error that may pass."""
    reason = "there is not enough memory" if isinstance(error, MemoryError) else error.strerror or str(error)
    return f"it cannot be read now: {reason}; {_TRIED_AGAIN}"


def is_ignored(name: str) -> bool:
    """Whether a file or folder of that name is ignored."""
    return _IGNORED.fullmatch(name) is not None


def printable(text: str) -> str:
    """The text with `?` for lone surrogates, which names in files and file systems may have."""
    return text.encode("utf-8", "replace").decode()
