"""The command line in a process of its own."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys


def phygitals(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def assert_one_line_error(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode != 0
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr


def on_a_terminal(*arguments: str, interrupt_at: bytes | None = None) -> tuple[str, int]:
    """What a command writes on a terminal, and its exit code; Ctrl-C is pressed when the given bytes were written."""
    terminal, its_end = pty.openpty()
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
