"""Records: small files that save a later run work, such as the manifest.

Records are caches. A record that is missing, damaged or of another type counts as lost, and its content is computed
again. Each record has a checksum. Records of earlier versions have none; for them only the type is checked.
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
    """Writes content that has a JSON form. Raises DataDirectoryError."""
    replace_file(path, json.dumps({"crc32": _crc(content), "content": content}))


def load_record(path: Path, kind: type[Kind]) -> Kind | None:
    """The record's content as the given type; None if it is lost."""
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict) and found.keys() == {"crc32", "content"}:
            found = found["content"] if found["crc32"] == _crc(found["content"]) else None
        return msgspec.convert(found, kind)
    except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None


def _crc(content: object) -> int:
    return zlib.crc32(json.dumps(content).encode())
