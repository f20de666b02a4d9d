"""The list of replaced objects in a merged object's metadata, with a checksum: the list decides which rows count."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping

_KEY = b"replaces"


def replaces_note(names: Iterable[str]) -> dict[str, str]:
    """The metadata that lists the replaced objects."""
    listed = json.dumps(sorted(names))
    return {_KEY.decode(): json.dumps({"names": listed, "crc32": zlib.crc32(listed.encode())})}


def names_replaced(metadata: Mapping[bytes, bytes]) -> frozenset[str]:
    """The names of the replaced objects. Raises ValueError if the list is missing or damaged.

    Earlier versions wrote the list without a checksum.
    """
    try:
        note = json.loads(metadata[_KEY])
        if isinstance(note, dict):
            if zlib.crc32(note["names"].encode()) != note["crc32"]:
                raise ValueError("its list of replaced objects does not match its checksum")
            note = json.loads(note["names"])
    except (KeyError, AttributeError, UnicodeError) as error:
        raise ValueError("its list of replaced objects is missing or damaged") from error
    if not isinstance(note, list) or not all(isinstance(name, str) for name in note):
        raise ValueError("its list of replaced objects is not a list of names")
    return frozenset(note)
