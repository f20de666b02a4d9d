"""Output to the terminal: escapes control characters, and survives closed streams.

Names of files, columns and sessions are untrusted: markup and control sequences in them are not interpreted.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from pipeline.report.wording import escape_controls

_WIDTH_WITHOUT_TERMINAL = 160


class SafeConsole(Console):
    """A console that escapes control characters in its output as `\\u…`, except its own."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(escape_controls(segment.text), segment.style)

    def on_broken_pipe(self) -> None:
        """Ends the process quietly. Output goes to the null device, since flushing at the exit would fail again."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, self.file.fileno()):
            os.dup2(nowhere, descriptor)
        raise SystemExit(1)


@functools.cache
def console() -> Console:
    """The console for output: a copy of standard output, which Dagster redirects to a file while a step runs."""
    return SafeConsole(
        file=os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace"),
        width=None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL,
        markup=False,
        highlight=False,
    )


def say(line: str) -> None:
    """Prints one line without wrapping it."""
    console().print(line, soft_wrap=True)


def print_error(text: str) -> None:
    """Prints on standard error."""
    SafeConsole(stderr=True, markup=False, highlight=False).print(text, soft_wrap=True)


def print_excerpt(text: str) -> None:
    """Prints an excerpt of the input of an error, of several lines, below the error if standard error is a terminal.

    Elsewhere an error remains one line, for programs that read it.
    """
    if sys.stderr.isatty():
        print_error(text)


def open_closed_streams() -> None:
    """Opens closed standard streams on the null device; otherwise the next opened file would take their descriptors."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            setattr(sys, name, os.fdopen(descriptor, mode, closefd=False))
