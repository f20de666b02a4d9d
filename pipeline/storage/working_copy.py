"""The index of a working copy: the etag of the object of which each local file is a copy.

It is a cache: a file that it does not know, or that has changed since, is downloaded again. A file that a user put
into the working copy is not lost by that: it is kept under another name.
"""

from __future__ import annotations

import filecmp
import threading
from collections.abc import Container
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from pipeline.storage.files import replace_file

_OF_USERS = ("inbox/", "sellbacks/", "reference/")
_ONLY_HERE = "only-here"


class _Copy(msgspec.Struct, frozen=True, array_like=True):
    etag: str
    size: int
    mtime_ns: int


class WorkingCopy:
    """The files below `root` that are copies of objects. Threads may share it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._index = root / ".working-copy.json"
        self._guard = threading.Lock()
        self._copies: dict[str, _Copy] | None = None
        self._changed: set[str] = set()

    def holds(self, key: str, etag: str) -> bool:
        """Whether the local file is a copy of the object with this etag."""
        copy = self._known().get(key)
        return copy is not None and copy.etag == etag and self._is_unchanged(key, copy)

    def note(self, key: str, etag: str) -> None:
        """Notes that the local file is a copy of the object with this etag."""
        status = (self._root / key).stat()
        with self._guard:
            self._known()[key] = _Copy(etag, status.st_size, status.st_mtime_ns)
            self._changed.add(key)

    def set_aside(self, key: str, content: Path | None = None) -> None:
        """Renames a user's file that is not a copy of an object, so that it is not lost when its name is needed.

        A file with the same bytes as the file `content` stays.
        """
        path, copy = self._root / key, self._known().get(key)
        if not key.startswith(_OF_USERS) or not path.is_file() or (copy and self._is_unchanged(key, copy)):
            return
        if content is None or not filecmp.cmp(path, content, shallow=False):
            path.rename(path.with_name(f"{path.name}.{_ONLY_HERE}-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"))

    def drop(self, key: str) -> None:
        """Removes the local file, or sets it aside."""
        self.set_aside(key)
        (self._root / key).unlink(missing_ok=True)
        with self._guard:
            self._known().pop(key, None)
            self._changed.add(key)

    def keep_only(self, folder: str, keys: Container[str]) -> None:
        """Removes the copies in a folder whose objects are gone."""
        for key in [key for key in self._known() if key.startswith(f"{folder}/") and key not in keys]:
            self.drop(key)

    def save(self) -> None:
        """Writes the changes into the index, which other processes may have changed too. Raises DataDirectoryError."""
        with self._guard:
            if not self._changed:
                return
            mine, saved = self._known(), self._load()
            for key in self._changed:
                if key in mine:
                    saved[key] = mine[key]
                else:
                    saved.pop(key, None)
            replace_file(self._index, msgspec.json.encode(saved))
            self._copies, self._changed = saved, set()

    def _is_unchanged(self, key: str, copy: _Copy) -> bool:
        try:
            status = (self._root / key).stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (copy.size, copy.mtime_ns)

    def _known(self) -> dict[str, _Copy]:
        if self._copies is None:
            self._copies = self._load()
        return self._copies

    def _load(self) -> dict[str, _Copy]:
        try:
            return msgspec.json.decode(self._index.read_bytes(), type=dict[str, _Copy])
        except (OSError, ValueError):
            return {}
