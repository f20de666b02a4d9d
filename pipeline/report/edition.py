"""The edition of a report: a fingerprint of its inputs, embedded in the page.

A page with the current fingerprint is up to date. A checksum at its end detects damage.
"""

from __future__ import annotations

import datetime as dt
import zlib
from pathlib import Path

from pipeline.storage.layout import Layout
from pipeline.storage.manifest import digest

_MARK = '<meta name="edition" content="{}">'
_HEAD_BYTES = 4096  # the edition is near the page's beginning
_CHECKSUM = "<!-- checksum {:08x} -->\n"


def edition(data: Layout, environment: str, moment: dt.datetime) -> str:
    """A fingerprint of the published file, the report's code, the environment, and the UTC day.

    The day determines "yesterday". Raises FileNotFoundError if there is no published file.
    """
    file = data.warehouse.stat()
    return digest([file.st_size, file.st_mtime_ns], _code(), environment, str(moment.astimezone(dt.UTC).date()))


def mark(value: str) -> str:
    """The HTML element with a page's edition."""
    return _MARK.format(value)


def with_checksum(page: str) -> bytes:
    """The page's bytes with the checksum."""
    content = page.encode()
    return content + _CHECKSUM.format(zlib.crc32(content)).encode()


def is_current(data: Layout, environment: str, moment: dt.datetime) -> bool:
    """Whether the existing report is undamaged and of the current edition."""
    try:
        content = data.report.read_bytes()
        if mark(edition(data, environment, moment)) not in content[:_HEAD_BYTES].decode("utf-8", "replace"):
            return False
    except OSError:
        return False
    page = content[: -len(_CHECKSUM.format(0))]
    return content.endswith(_CHECKSUM.format(zlib.crc32(page)).encode())


def _code() -> list[str]:
    folder = Path(__file__).parent
    sources = sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".html", ".css"))
    return [digest(path.read_text(encoding="utf-8")) for path in sources]
