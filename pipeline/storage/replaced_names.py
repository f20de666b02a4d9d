"""The note in a merged object's metadata of which objects it replaces, with a checksum: rows count by it, or do not."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping

_KEY = b"replaces"


def replaces_note(names: Iterable[str]) -> dict[str, str]:
    """The metadata that says that the named objects are replaced."""
    listed = json.dumps(sorted(names))
    return {_KEY.decode(): json.dumps({"names": listed, "crc32": zlib.crc32(listed.encode())})}


def names_replaced(metadata: Mapping[bytes, bytes]) -> frozenset[str]:
    """The names of the objects that are replaced. Raises ValueError where the note is absent or not what was written.

    Earlier versions wrote the names alone.
    """
    try:
        note = json.loads(metadata[_KEY])
        if isinstance(note, dict):
            if zlib.crc32(note["names"].encode()) != note["crc32"]:
                raise ValueError("its list of replaced objects is not what its checksum was made of")
            note = json.loads(note["names"])
    except (KeyError, AttributeError, UnicodeError) as error:
        raise ValueError("its list of replaced objects is missing or damaged") from error
    if not isinstance(note, list) or not all(isinstance(name, str) for name in note):
        raise ValueError("its list of replaced objects is no list of names")
    return frozenset(note)
