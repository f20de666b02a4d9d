"""Small files of what was learned, such as the manifest, so that a later run need not find it out again.

They are caches: what is absent, damaged or of another shape counts as lost, and is found out anew. A checksum makes
sure that a file is what was written; those of earlier versions have none, and are judged by their shape alone.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pipeline.storage.files import replace_file

Kind = TypeVar("Kind")


def save_record(path: Path, content: object) -> None:
    """Writes what has a JSON form. Raises DataDirectoryError."""
    replace_file(path, json.dumps({"crc32": _crc(content), "content": content}))


def load_record(path: Path, kind: type[Kind]) -> Kind | None:
    """What was written, as this type; None where it is lost."""
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict) and found.keys() == {"crc32", "content"}:
            found = found["content"] if found["crc32"] == _crc(found["content"]) else None
        return msgspec.convert(found, kind)
    except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None


def _crc(content: object) -> int:
    return zlib.crc32(json.dumps(content).encode())
