"""Writes session ids, files of ids, or standard input into the inbox: all arguments or none."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.sources import formats, inbox, rows
from pipeline.sources.columns import RowError
from pipeline.storage.data_directory import DataDirectory

_STANDARD_INPUT = "-"
# Ids may be any text, but an argument like these is probably a file with a wrong path.
_LOOKS_LIKE_A_PATH = re.compile(
    r"[.~].*|.*[/\\].*|.*\.(?:txt|csv|tsv|jsonl?|ndjson|parquet|pq|xlsx?|ods|numbers|gz|zip|bz2|xz|zst)",
    re.IGNORECASE | re.DOTALL,
)


class SubmitError(PipelineError):
    """An argument is neither a session id nor a readable file. Nothing was submitted."""


def submit_all(data: DataDirectory, arguments: Iterable[str], now: datetime) -> Iterator[str]:
    """Writes inbox files after checking every argument. Yields one line per file, with its source and its path.

    Raises SubmitError, and DataDirectoryError if a file cannot be read or written.
    """
    files: list[Path] = []
    ids: list[str] = []
    for argument in dict.fromkeys(arguments):
        if argument == _STANDARD_INPUT:
            ids += _ids_of_standard_input()
        elif (path := _existing(argument)) is None:
            ids.append(_session_id(argument))
        elif not path.is_file():
            raise SubmitError(f"{argument} is not a file: name files, or pipe ids into `phygitals submit -`")
        elif not formats.is_supported(path.name):
            raise SubmitError(f"{argument} has no supported suffix: use one of {', '.join(formats.SUFFIXES)}")
        else:
            files.append(path)
    for file in files:
        yield f"{file} -> {inbox.submit_file(data, file, now)}"
    if ids:
        yield f"{len(ids)} session {'id' if len(ids) == 1 else 'ids'} -> {inbox.submit_ids(data, ids, now)}"


def _existing(argument: str) -> Path | None:
    try:
        path = Path(argument)
        return path if path.exists() else None
    except (OSError, ValueError):
        return None  # too long for a path, or with characters that paths cannot have


def _session_id(argument: str) -> str:
    problem = rows.session_id_problem(argument)
    if problem is None and _LOOKS_LIKE_A_PATH.fullmatch(argument):
        problem = "there is no such file; if it is an id, pipe it into `phygitals submit -`"
    if problem:
        raise SubmitError(f"{argument!r}: {problem}; nothing was submitted")
    return argument


def _ids_of_standard_input() -> list[str]:
    ids = []
    for number, line in formats.id_lines(sys.stdin.buffer):
        problem = line if isinstance(line, RowError) else rows.session_id_problem(line)
        if problem:
            raise SubmitError(f"standard input, line {number}: {problem}; nothing was submitted")
        ids.append(str(line))
    if not ids:
        raise SubmitError("standard input has no session id; nothing was submitted")
    return ids
