"""Records: small objects that save work, such as the manifest, so that a later run need not find it out again.

They are caches: an absent, damaged or outdated record counts as lost, and its content is computed anew. A checksum
makes sure that a record is what was written; those of earlier versions have none and are judged by their shape alone.
"""

from __future__ import annotations

import json
import zlib
from typing import Any, TypeVar

import msgspec

from pipeline.storage.object_storage import ObjectStorage

Kind = TypeVar("Kind")


class Records:
    """The records of one data directory, by name. Only the holder of its lock may save.

    A record is replaced only if it is the one that was loaded, so that a run that lost its lease cannot overwrite what
    another run saved.
    """

    def __init__(self, storage: ObjectStorage) -> None:
        self._storage = storage
        self._etags: dict[str, str | None] = {}

    def load(self, name: str, kind: type[Kind]) -> Kind | None:
        """The record as this type; None if it is lost."""
        try:
            found = self._storage.read(_key(name))
            self._etags[name] = found[1] if found else None
            return _content(found[0], kind) if found else None
        except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
            return None

    def save(self, name: str, content: object) -> None:
        """Writes content that has a JSON form. Raises DataDirectoryError, and ConflictError if it was replaced."""
        text = json.dumps({"crc32": _crc(content), "content": content}).encode()
        self._etags[name] = self._storage.compare_and_swap(_key(name), text, self._etag(name))

    def forget(self, name: str) -> None:
        """Removes a record. Raises OSError."""
        if self._etag(name) is not None:
            self._storage.delete(_key(name))
            self._etags[name] = None

    def _etag(self, name: str) -> str | None:
        if name not in self._etags:
            found = self._storage.find(_key(name))
            self._etags[name] = found.etag if found else None
        return self._etags[name]


def _key(name: str) -> str:
    return f"staging/{name}.json"


def _content(text: bytes, kind: type[Kind]) -> Kind | None:
    found: Any = json.loads(text.decode())
    if isinstance(found, dict) and found.keys() == {"crc32", "content"}:
        found = found["content"] if found["crc32"] == _crc(found["content"]) else None
    return msgspec.convert(found, kind)


def _crc(content: object) -> int:
    return zlib.crc32(json.dumps(content).encode())
