"""The pieces of journals in an object store: an answer survives the loss of its machine once its piece is kept.

Each flush of a journal is one segment; the segments of a journal in their order are its file. A folder keeps none.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path

from pipeline.storage.errors import StoreError
from pipeline.storage.journal import Frame
from pipeline.storage.object_storage import ObjectStorage


class JournalSegments:
    """The segments of the journals in one folder, whose key is `folder`."""

    def __init__(self, storage: ObjectStorage, folder: str) -> None:
        self._storage = storage
        self._folder = folder

    def add(self, journal: str, number: int, frame: Frame) -> None:
        """Keeps the next piece of a journal. Raises StoreError."""
        if self._storage.is_remote:
            self._storage.keep_segment(f"{self._folder}/{journal}/{number:06}", b"".join(frame))

    def restore(self) -> set[str]:
        """Writes the files of the journals that have segments; returns their names.

        A file with more than its segments stays: its end was not kept any more when its machine stopped.
        Raises StoreError.
        """
        restored = set()
        keys = (key for key in self._storage.segments(self._folder) if key.count("/") > self._folder.count("/") + 1)
        for folder, of_journal in itertools.groupby(keys, key=lambda key: key.rpartition("/")[0]):
            journal = self._storage.root / folder
            try:
                self._restore(journal, list(of_journal))
            except OSError as error:
                raise StoreError(
                    f"{journal} could not be written: {error}; its answers stay in the object store: free some "
                    "space or correct the permissions, then run again"
                ) from error
            restored.add(journal.name)
        return restored

    def remove(self, journal: str) -> None:
        """Removes the segments of a journal. Raises StoreError."""
        self._storage.drop_segments(self._storage.segments(f"{self._folder}/{journal}"))

    def _restore(self, journal: Path, keys: list[str]) -> None:
        journal.parent.mkdir(parents=True, exist_ok=True)
        part = journal.with_name(f".{journal.name}.{os.getpid()}.tmp")
        try:
            with part.open("wb") as file:
                for key in keys:
                    found = self._storage.read(key)
                    file.write(found[0] if found else b"")
                size = file.tell()
            with contextlib.suppress(FileNotFoundError):
                if journal.stat().st_size >= size:
                    return
            part.replace(journal)
        finally:
            part.unlink(missing_ok=True)
