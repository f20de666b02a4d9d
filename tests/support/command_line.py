"""The command line in a process of its own."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import signal
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from typing import IO

import pytest

from pipeline.cli.console import console
from pipeline.cli.main import main


def phygitals(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def phygitals_here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The same in this process, which spares a second or two of imports: for what a command says and its exit code.

    A command that is started as users start it is shown by other tests; a run of the job belongs into a process.
    """
    errors, arguments_before = io.StringIO(), sys.argv
    sys.argv = ["phygitals", *arguments]
    with tempfile.TemporaryFile() as written:
        try:
            with _standard_output_to(written), contextlib.redirect_stderr(errors), pytest.raises(SystemExit) as done:
                main()
        finally:
            sys.argv = arguments_before
        written.seek(0)
        output = written.read().decode()
    code = done.value.code
    assert code is None or isinstance(code, int)
    return subprocess.CompletedProcess(["phygitals", *arguments], code or 0, output, errors.getvalue())


@contextlib.contextmanager
def _standard_output_to(file: IO[bytes]) -> Iterator[None]:
    """Redirects what Python writes, and what the console writes to its own copy of descriptor 1."""
    before = os.dup(1)
    os.dup2(file.fileno(), 1)
    console.cache_clear()
    try:
        with os.fdopen(os.dup(1), "w", encoding="utf-8") as stream, contextlib.redirect_stdout(stream):
            yield
    finally:
        if console.cache_info().currsize:
            console().file.close()
        console.cache_clear()
        os.dup2(before, 1)
        os.close(before)


def assert_one_line_error(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode != 0
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr


def on_a_terminal(*arguments: str, interrupt_at: bytes | None = None, width: int = 80) -> tuple[str, int]:
    """What a command writes on a terminal, and its exit code; Ctrl-C is pressed when the given bytes were written."""
    terminal, its_end = pty.openpty()
    termios.tcsetwinsize(its_end, (24, width))
    command = [sys.executable, "-m", "pipeline.cli.main", *arguments]
    process = subprocess.Popen(command, stdout=its_end, stderr=its_end, env={**os.environ, "TERM": "xterm"})
    os.close(its_end)
    written = b""
    with contextlib.suppress(OSError):  # how a terminal says that nobody writes to it any more
        while chunk := os.read(terminal, 65_536):
            written += chunk
            if interrupt_at and interrupt_at in written:
                process.send_signal(signal.SIGINT)
                interrupt_at = None
    os.close(terminal)
    return written.decode(errors="replace"), process.wait(60)
