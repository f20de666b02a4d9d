"""Which report a page is: what it was drawn from, as a fingerprint that the page carries.

A page whose fingerprint is today's would be drawn the same way again.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from pipeline.lake.directory import DataDirectory
from pipeline.lake.manifest import digest

_MARK = '<meta name="edition" content="{}">'
_HEAD_BYTES = 4096  # the mark stands near the page's beginning


def edition(data: DataDirectory, environment: str, moment: dt.datetime) -> str:
    """A fingerprint of the published file, the report's code, the environment and the UTC day, which decides what
    "yesterday" is. Raises FileNotFoundError when nothing has been published yet."""
    file = data.warehouse.stat()
    return digest([file.st_size, file.st_mtime_ns], _code(), environment, str(moment.astimezone(dt.UTC).date()))


def mark(value: str) -> str:
    """The HTML element that tells a page's edition."""
    return _MARK.format(value)


def is_current(data: DataDirectory, environment: str, moment: dt.datetime) -> bool:
    """Whether the report that is there would be drawn the same way again."""
    try:
        with data.report.open("rb") as page:
            head = page.read(_HEAD_BYTES).decode("utf-8", "replace")
        return mark(edition(data, environment, moment)) in head
    except OSError:
        return False


def _code() -> list[str]:
    folder = Path(__file__).parent
    sources = sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".html", ".css"))
    return [digest(path.read_text(encoding="utf-8")) for path in sources]
