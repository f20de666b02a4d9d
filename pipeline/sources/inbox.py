"""The new files of the inbox and of the folder `sellbacks`, and writing files into the inbox."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from io import BufferedReader
from pathlib import Path

from pipeline.sources import formats
from pipeline.sources.columns import SUBMISSION_ID, Record
from pipeline.sources.kinds import Kind
from pipeline.sources.listing import (
    InboxFile,
    Listing,
    UnavailableFileError,
    cannot_be_read,
    listing,
    listing_of,
    open_file,
)
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.errors import DataDirectoryError
from pipeline.storage.files import replace_file


@dataclass(frozen=True)
class FileBatch:
    """The rows of one file, open for reading. A file is identified by its content and format.

    The same bytes under another name are not read again, unless the name's suffix has another format.
    """

    file: InboxFile
    opened: BufferedReader
    content_sha256: str
    kind: Kind

    @property
    def name(self) -> str:
        return self.file.shown

    @property
    def rows_object(self) -> str:
        return f"{self.content_sha256}-as-{formats.format_of(self.file.name)}"

    @property
    def rejection_object(self) -> str:
        return _rejection_object(self.content_sha256, self.file.name)

    @property
    def former_objects(self) -> frozenset[str]:
        return frozenset({self.content_sha256})

    def records(self, note_unknown: Callable[[Iterable[str]], None]) -> Generator[Record, None, None]:
        return formats.read(self.opened, self.file.name, self.kind, note_unknown)

    def confirm(self) -> None:
        status = os.fstat(self.opened.fileno())
        if (status.st_size, status.st_mtime_ns) != (self.file.size, self.file.mtime_ns):
            raise UnavailableFileError("it was changed while it was read; the next run reads it again")


class Inbox:
    """The folder of one kind of record as a `Source`: each of its files is a batch.

    An index records the files that were read, by their listing stamps, so that they are not opened again. It is a
    cache: without it the files are hashed again and recognized by their content.
    """

    def __init__(self, data: DataDirectory, kind: Kind) -> None:
        self.kind = kind
        self._data = data
        self._folder = kind.path(data)
        self._index = f"{kind.folder}_index"
        self._stamps = data.records.load(self._index, dict[str, tuple[str, str]]) or {}

    def files(self) -> list[InboxFile]:
        """The files, read and unread, without opening any."""
        return self._listing().files

    def new_files(self) -> list[InboxFile]:
        """The unread files, from one listing, without opening any."""
        return [file for file in self.files() if not self._is_known(file)]

    def rejection_objects(self) -> dict[str, str]:
        """By the name of a read file that is still in the folder: its raw object if it was rejected whole."""
        read = ((file, self._stamps[file.name][1]) for file in self.files() if self._is_known(file))
        return {file.shown: _rejection_object(sha, file.name) for file, sha in read}

    def batches(self, left: dict[str, str]) -> Iterator[FileBatch]:
        found = self._listing()
        left |= found.left
        for file in (file for file in found.files if not self._is_known(file)):
            try:
                self._data.current(self._folder / file.name)
                with open_file(self._folder, file) as opened:
                    yield FileBatch(file, opened, _sha256(opened), self.kind)
            except UnavailableFileError as error:
                left[file.shown] = str(error)

    def mark_read(self, batch: FileBatch) -> None:
        self._stamps[batch.file.name] = (batch.file.stamp, batch.content_sha256)

    def save(self) -> None:
        self._data.records.save(self._index, self._stamps)

    def _listing(self) -> Listing:
        storage = self._data.storage
        return listing_of(storage.listing(self.kind.folder)) if storage.is_remote else listing(self._folder)

    def _is_known(self, file: InboxFile) -> bool:
        return self._stamps.get(file.name, ("", ""))[0] == file.stamp


def _rejection_object(content_sha256: str, name: str) -> str:
    return f"{content_sha256}-unreadable-as-{formats.format_of(name)}"


def _sha256(opened: BufferedReader) -> str:
    try:
        sha = hashlib.file_digest(opened, "sha256").hexdigest()
        opened.seek(0)
    except (OSError, MemoryError) as error:
        raise UnavailableFileError(cannot_be_read(error)) from error
    return sha


def fingerprint(files: list[InboxFile]) -> str:
    """A digest of the listed files; changes when any of them changes."""
    return hashlib.sha256(repr(files).encode()).hexdigest()


def submit_ids(data: DataDirectory, session_ids: list[str], now: datetime) -> Path:
    """Writes the ids as a new inbox file and returns its path."""
    submission_id = str(uuid.uuid4())
    rows = (json.dumps({"session_id": s, SUBMISSION_ID: submission_id}) for s in session_ids)
    path = data.inbox / f"submitted-{now:%Y%m%dT%H%M%SZ}-{submission_id[:8]}.jsonl"
    replace_file(path, "\n".join(rows) + "\n")
    data.push(path)
    return path


def submit_file(data: DataDirectory, source: Path, now: datetime) -> Path:
    """Copies the file into the inbox under a unique name and returns its path. Raises DataDirectoryError."""
    path = data.inbox / f"submitted-{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}-{source.name.lstrip('.')}"
    try:
        content = source.read_bytes()
    except OSError as error:
        raise DataDirectoryError(
            f"{source} could not be read and was not submitted: {error.strerror}; correct its permissions, then submit "
            "it again"
        ) from error
    replace_file(path, content)
    data.push(path)
    return path
