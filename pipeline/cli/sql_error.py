"""Turns DuckDB's message on a query into one line, and an excerpt of the SQL with a caret below the fault."""

from __future__ import annotations

import re

from rich.cells import cell_len

from pipeline.errors import PipelineError
from pipeline.report.wording import escape_controls

_PLACE = re.compile(r"\n+(?P<line>LINE (?P<number>\d+): .*)\n(?P<caret> *\^)\s*\Z")


class SqlError(PipelineError):
    """DuckDB refuses the query. `excerpt` has two lines, or is None if DuckDB names no place."""

    def __init__(self, message: str) -> None:
        place = _PLACE.search(message)
        words = " ".join(message[: place.start() if place else None].split())
        super().__init__(f"{words} (in line {place['number']} of the SQL)" if place else words)
        self.excerpt = _excerpt(place["line"], len(place["caret"]) - 1) if place else None


def _excerpt(line: str, column: int) -> str:
    """The line as a terminal shows it, and the caret below the same character as in DuckDB's message.

    DuckDB counts a tab as no cell, and a control character is longer when it is escaped.
    """
    before = next((end for end in range(len(line)) if _cells(line[: end + 1]) > column), len(line))
    return f"{_shown(line)}\n{' ' * cell_len(_shown(line[:before]))}^"


def _cells(text: str) -> int:
    return cell_len(text.replace("\t", ""))


def _shown(text: str) -> str:
    return escape_controls(text.replace("\t", " "))
