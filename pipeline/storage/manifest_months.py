"""The manifest's entries of each month, as objects of their own, so that a save writes only the months that changed.

An object is named by its month and by a digest of its content, and is never modified. The manifest's record names the
current ones. So replacing the record is the commit, and objects that it does not name are left-overs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Mapping

from pipeline.storage.files import replace_file
from pipeline.storage.object_storage import ObjectStorage

_FOLDER = "staging/manifest"
_DATED = re.compile(r"\d{4}-\d{2}-\d{2}")


def month_of(name: str) -> str | None:
    """The month of a part or of a day, such as 2026-03; None for the only part of a table that is not cut by time."""
    return name[:7] if _DATED.match(name) else None


class MonthObjects:
    """The objects of one data directory, by month and digest."""

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage

    def read(self, digests: Mapping[str, str]) -> list[bytes] | None:
        """The contents, of which a warm working copy has most; None if one is lost or damaged. Raises StoreError."""
        self._storage.fetch(_key(month, digest) for month, digest in digests.items())
        contents = [self._content(month, digest) for month, digest in digests.items()]
        found = [content for content in contents if content is not None]
        return found if len(found) == len(contents) else None

    def _content(self, month: str, digest: str) -> bytes | None:
        key = _key(month, digest)
        content = self._read_file(key)
        if _digest(content) != digest and self._storage.fetch_again(key):
            content = self._read_file(key)
        return content if _digest(content) == digest else None

    def _read_file(self, key: str) -> bytes:
        with contextlib.suppress(OSError):
            return (self._storage.root / key).read_bytes()
        return b""

    def write(self, month: str, content: bytes) -> str:
        """Writes the entries of a month, and returns their digest. Raises DataDirectoryError and StoreError."""
        digest = _digest(content)
        made = self._storage.root / f"{_FOLDER}/.{month}.{os.getpid()}.tmp"  # what a killed run leaves is swept
        replace_file(made, content)
        try:
            self._storage.put(made, _key(month, digest))
        finally:
            made.unlink(missing_ok=True)
        return digest

    def keep_only(self, digests: Mapping[str, str]) -> None:
        """Removes all other objects. Needs the lock. Raises OSError."""
        current = {_key(month, digest) for month, digest in digests.items()}
        for entry in self._storage.listing(_FOLDER):
            if entry.key not in current:
                self._storage.delete(entry.key)


def _key(month: str, digest: str) -> str:
    return f"{_FOLDER}/{month}.{digest}.json"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
