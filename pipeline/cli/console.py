"""The one way to the terminal: nothing that is printed can steer it, and where nobody listens, the work goes on.

Names of files, columns and sessions are data: nothing in them is markup, and no sequence in them is obeyed.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from pipeline.report.wording import harmless

_WIDTH_WITHOUT_TERMINAL = 160


class HarmlessConsole(Console):
    """A console that writes control characters of what it prints out as `\\u…`, and obeys none but its own."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(harmless(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """Ends the process quietly. What is left in the file would be written when it is closed, and fail again."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, self.file.fileno()):
            os.dup2(nowhere, descriptor)
        raise SystemExit(1)


@functools.cache
def console() -> Console:
    """Where output goes. Dagster turns standard output to a file of its own while a step runs, so this is a copy."""
    return HarmlessConsole(
        file=os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace"),
        width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL,
        markup=False,
        highlight=False,
    )


def say(line: str) -> None:
    """Prints a line, however long it is."""
    console().print(line, soft_wrap=True)


def complain(text: str) -> None:
    """Prints on standard error."""
    HarmlessConsole(stderr=True, markup=False, highlight=False).print(text, soft_wrap=True)


def open_closed_streams() -> None:
    """Leads standard streams that are closed to nowhere; the next file to be opened would take the place of one."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            setattr(sys, name, os.fdopen(descriptor, mode, closefd=False))
