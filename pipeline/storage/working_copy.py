"""The index of a working copy: the etag of the object of which each local file is a copy.

It is a cache: a file that it does not know, or that has changed since, is downloaded again.
"""

from __future__ import annotations

import threading
from collections.abc import Container
from pathlib import Path

import msgspec

from pipeline.storage.files import replace_file


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
        if copy is None or copy.etag != etag:
            return False
        try:
            status = (self._root / key).stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (copy.size, copy.mtime_ns)

    def note(self, key: str, etag: str) -> None:
        """Notes that the local file is a copy of the object with this etag."""
        status = (self._root / key).stat()
        with self._guard:
            self._known()[key] = _Copy(etag, status.st_size, status.st_mtime_ns)
            self._changed.add(key)

    def drop(self, key: str) -> None:
        """Removes the local file."""
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

    def _known(self) -> dict[str, _Copy]:
        if self._copies is None:
            self._copies = self._load()
        return self._copies

    def _load(self) -> dict[str, _Copy]:
        try:
            return msgspec.json.decode(self._index.read_bytes(), type=dict[str, _Copy])
        except (OSError, ValueError):
            return {}
