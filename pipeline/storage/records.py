"""Records: small objects that save work, such as the manifest, so that a later run need not find it out again.

They are caches: an absent, damaged or outdated record counts as lost, and its content is computed anew. A checksum
makes sure that a record is what was written; those of earlier versions have none and are judged by their shape alone.
"""

from __future__ import annotations

import json
import re
import zlib
from typing import TypeVar

import msgspec

from pipeline.storage.object_storage import ObjectStorage

Kind = TypeVar("Kind")
_CHECKED = re.compile(rb'\{"crc32": (?P<crc32>\d+), "content": (?P<content>.*)\}', re.DOTALL)


class Records:
    """The records of one data directory, by name. Only the holder of its lock may save.

    A record is replaced only if it is the one that was loaded, so that a run that lost its lease cannot overwrite what
    another run saved.
    """

    def __init__(self, storage: ObjectStorage) -> None:
        self.storage = storage
        self._etags: dict[str, str | None] = {}

    def load(self, name: str, kind: type[Kind]) -> Kind | None:
        """The record as this type; None if it is lost."""
        try:
            found = self.storage.read(_key(name))
            self._etags[name] = found[1] if found else None
            return _content(found[0], kind) if found else None
        except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
            return None

    def save(self, name: str, content: object) -> None:
        """Writes content that has a JSON form. Raises DataDirectoryError, and ConflictError if it was replaced."""
        written = json.dumps(content).encode()
        text = b'{"crc32": %d, "content": %b}' % (zlib.crc32(written), written)
        self._etags[name] = self.storage.compare_and_swap(_key(name), text, self._etag(name))

    def forget(self, name: str) -> None:
        """Removes a record. Raises OSError."""
        if self._etag(name) is not None:
            self.storage.delete(_key(name))
            self._etags[name] = None

    def _etag(self, name: str) -> str | None:
        if name not in self._etags:
            found = self.storage.find(_key(name))
            self._etags[name] = found.etag if found else None
        return self._etags[name]


def _key(name: str) -> str:
    return f"staging/{name}.json"


def _content(text: bytes, kind: type[Kind]) -> Kind | None:
    checked = _CHECKED.fullmatch(text)
    if checked and int(checked["crc32"]) != zlib.crc32(checked["content"]):
        return None
    found = json.loads(checked["content"] if checked else text)
    if not checked and isinstance(found, dict) and "content" in found:
        return None  # a record with a checksum, whose form is damaged
    return msgspec.convert(found, kind)
