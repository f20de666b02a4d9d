"""The inbox folder: which files count, which are new, and how one is written into it."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from stat import S_ISREG

from pipeline.lake.directory import DataDirectory, DataDirectoryError, replace_file
from pipeline.lake.kept_record import load_record, save_record
from pipeline.submissions.formats import SUBMISSION_ID, printable

_UNFINISHED = (".tmp", ".part", ".crdownload")


@dataclass(frozen=True, order=True)
class InboxFile:
    """A file in the inbox as the directory listing shows it. `name` is its path below the inbox."""

    name: str
    size: int
    mtime_ns: int

    @property
    def shown(self) -> str:
        """The name for people and tables."""
        return printable(self.name)

    @property
    def stamp(self) -> str:
        """Changes when the file does, as far as a listing can tell."""
        return f"{self.size}:{self.mtime_ns}"


class InboxIndex:
    """Remembers, by listing stamp, the content hash of files already read, so that they are not read again.

    It is a cache: without it the files are hashed again and then known by their content.
    """

    def __init__(self, data: DataDirectory) -> None:
        self._path = data.inbox_index
        self._stamps = load_record(self._path, dict[str, tuple[str, str]]) or {}

    def knows(self, file: InboxFile) -> bool:
        return self._stamps.get(file.name, ("", ""))[0] == file.stamp

    def remember(self, file: InboxFile, content_sha256: str) -> None:
        self._stamps[file.name] = (file.stamp, content_sha256)

    def save(self) -> None:
        save_record(self._path, self._stamps)


def listing(data: DataDirectory) -> Iterator[InboxFile]:
    """The files that count: regular, below the inbox, neither hidden nor unfinished. Sorted by name."""
    found = []
    for folder, subfolders, names in os.walk(data.inbox):
        subfolders[:] = [s for s in subfolders if not s.startswith(".")]
        for name in names:
            path = Path(folder, name)
            if name.startswith(".") or name.endswith(_UNFINISHED):
                continue
            try:
                stat = path.stat()
            except OSError:
                continue  # renamed since it was listed, or a link to nowhere; looked at again the next time
            if not S_ISREG(stat.st_mode):
                continue
            found.append(InboxFile(path.relative_to(data.inbox).as_posix(), stat.st_size, stat.st_mtime_ns))
    yield from sorted(found)


def new_files(data: DataDirectory) -> list[InboxFile]:
    """The files that no run has read yet, from one listing, without opening any."""
    index = InboxIndex(data)
    return [file for file in listing(data) if not index.knows(file)]


def fingerprint(files: list[InboxFile]) -> str:
    """The same for the same files, and another one when any of them changes."""
    return hashlib.sha256(repr(files).encode()).hexdigest()


def submit_ids(data: DataDirectory, session_ids: list[str], now: datetime) -> Path:
    """Writes the ids as a new inbox file and returns its path."""
    submission_id = str(uuid.uuid4())
    rows = (json.dumps({"session_id": s, SUBMISSION_ID: submission_id}) for s in session_ids)
    path = data.inbox / f"submitted-{now:%Y%m%dT%H%M%SZ}-{submission_id[:8]}.jsonl"
    replace_file(path, "\n".join(rows) + "\n")
    return path


def submit_file(data: DataDirectory, source: Path, now: datetime) -> Path:
    """Copies the file into the inbox under a name of its own and returns its path. Raises DataDirectoryError."""
    path = data.inbox / f"submitted-{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}-{source.name.lstrip('.')}"
    try:
        content = source.read_bytes()
    except OSError as error:
        raise DataDirectoryError(
            f"{source} could not be read: {error.strerror}; nothing was submitted: "
            "mend the permissions, then submit it again"
        ) from error
    replace_file(path, content)
    return path
