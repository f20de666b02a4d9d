"""The new files of the inbox and of the folder `sellbacks`, and writing files into the inbox."""

from __future__ import annotations

import hashlib
import json
import uuid
from datetime import datetime
from pathlib import Path

from pipeline.sources.columns import SUBMISSION_ID
from pipeline.sources.kinds import SESSIONS, Kind
from pipeline.sources.listing import InboxFile, listing
from pipeline.storage.errors import DataDirectoryError
from pipeline.storage.files import replace_file
from pipeline.storage.kept_record import load_record, save_record
from pipeline.storage.layout import Layout


class InboxIndex:
    """Records the files that were read, by their listing stamps, so that they are not opened again.

    It is a cache: without it the files are hashed again and recognized by their content.
    """

    def __init__(self, data: Layout, kind: Kind = SESSIONS) -> None:
        self._path = data.record(f"{kind.folder}_index")
        self._stamps = load_record(self._path, dict[str, tuple[str, str]]) or {}

    def knows(self, file: InboxFile) -> bool:
        return self._stamps.get(file.name, ("", ""))[0] == file.stamp

    def remember(self, file: InboxFile, content_sha256: str) -> None:
        self._stamps[file.name] = (file.stamp, content_sha256)

    def save(self) -> None:
        save_record(self._path, self._stamps)


def new_files(data: Layout, kind: Kind = SESSIONS) -> list[InboxFile]:
    """The unread files, from one listing, without opening any."""
    index = InboxIndex(data, kind)
    return [file for file in listing(kind.path(data)).files if not index.knows(file)]


def fingerprint(files: list[InboxFile]) -> str:
    """A digest of the listed files; changes when any of them changes."""
    return hashlib.sha256(repr(files).encode()).hexdigest()


def submit_ids(data: Layout, session_ids: list[str], now: datetime) -> Path:
    """Writes the ids as a new inbox file and returns its path."""
    submission_id = str(uuid.uuid4())
    rows = (json.dumps({"session_id": s, SUBMISSION_ID: submission_id}) for s in session_ids)
    path = data.inbox / f"submitted-{now:%Y%m%dT%H%M%SZ}-{submission_id[:8]}.jsonl"
    replace_file(path, "\n".join(rows) + "\n")
    return path


def submit_file(data: Layout, source: Path, now: datetime) -> Path:
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
    return path
