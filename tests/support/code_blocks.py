"""The blocks of code of the documents, as programs that tests run."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"^(?P<mark><!-- not executed: [^\n]+ -->\n)?```(?P<language>sh|python|sql)\n(?P<code>.*?)^```", re.M | re.S
)
_MAKE = re.compile(r"make [a-z-]+")


@dataclass(frozen=True)
class Block:
    page: Path
    language: str
    code: str
    is_executed: bool


def blocks(page: Path) -> Iterator[Block]:
    """The blocks of code of a page. A block that no test can run has a mark before it with the reason."""
    text = re.sub(r"^ +(?=```|<!--)", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for found in _BLOCK.finditer(text):
        yield Block(page, found["language"], found["code"], found["mark"] is None)


def program(block: Block) -> str:
    """A program for bash. CI itself runs the targets of make, which the tests of the README look up."""
    if block.language == "python":
        return f"{sys.executable} - <<'END'\n{block.code}\nEND\n"
    lines = [line for line in block.code.splitlines() if not _MAKE.match(line)]
    return "\n".join(["set -euo pipefail", *lines])
