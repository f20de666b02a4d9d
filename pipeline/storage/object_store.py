"""Objects in an S3-compatible store, with the data directory as their working copy.

Queries read local files only, so an object is downloaded before it is read and uploaded when it is published. What is
current is what the store lists.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from pipeline.schema.table import Zone
from pipeline.storage.bucket import Bucket
from pipeline.storage.errors import ConflictError, MissingFileError
from pipeline.storage.files import keep_access
from pipeline.storage.object_storage import Entry
from pipeline.storage.working_copy import WorkingCopy

_AT_ONCE = 16  # downloads
_MOST_COPIED = 5 * 1024**3  # bytes; S3 copies no larger object in one request
_VERSIONS = "versions"
_ZONES = frozenset(zone.value for zone in Zone)


class ObjectStore:
    """An `ObjectStorage` in an object store. `check` raises if this process must not write any more."""

    def __init__(self, root: Path, url: str, check: Callable[[], None] = lambda: None) -> None:
        self._root = root
        self._bucket = Bucket(url)
        self._check = check
        self._copy = WorkingCopy(root)
        self._listed: dict[str, dict[str, Entry]] = {}

    @property
    def root(self) -> Path:
        return self._root

    @property
    def is_remote(self) -> bool:
        return True

    def refresh(self) -> None:
        self._listed.clear()
        self._copy.save()

    def listing(self, prefix: str) -> list[Entry]:
        folder = _listed_folder(f"{prefix}/.")
        if folder is None:
            return sorted(self._list(prefix).values())
        if folder not in self._listed:
            self._listed[folder] = self._list(folder)
            self._copy.keep_only(folder, self._listed[folder].keys())
        return sorted(entry for key, entry in self._listed[folder].items() if key.startswith(f"{prefix}/"))

    def find(self, key: str) -> Entry | None:
        listed = self._listed.get(_listed_folder(key) or "")
        if listed is not None:
            return listed.get(key)
        found = self._bucket.head(key)
        return Entry(*found) if found else None

    def fetch(self, keys: Iterable[str]) -> None:
        wanted = list(keys)
        if len(wanted) > 1:
            for folder in {folder for key in wanted if (folder := _listed_folder(key))}:
                self.listing(folder)
        stale = []
        for key in wanted:
            entry = self.find(key)
            if entry is None:
                self._copy.drop(key)
            elif not self._copy.holds(key, entry.etag):
                stale.append(entry)
        if len(stale) > 1:
            with ThreadPoolExecutor(min(_AT_ONCE, len(stale))) as downloads:
                list(downloads.map(self._download, stale))
        elif stale:
            self._download(stale[0])
        if stale:
            self._copy.save()

    def fetch_again(self, key: str) -> bool:
        self._copy.drop(key)
        self.fetch([key])
        return (self._root / key).exists()

    def put(self, file: Path, key: str) -> Entry:
        self._check()
        etag = self._bucket.upload(file, key)
        target = self._root / key
        keep_access(file, target)
        file.replace(target)
        return self._written(key, etag)

    def push(self, key: str, versions: int = 0) -> None:
        self._check()
        file = self._root / key
        if versions:
            name = f"{_VERSIONS}/{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{key}"
            self._bucket.upload(file, name)
            self._copy_or_upload(name, file, key)
            former = sorted(found.key for found in self._bucket.list(_VERSIONS) if found.key.endswith(f"-{key}"))
            self._bucket.delete(*former[:-versions])
        else:
            self._bucket.upload(file, key)
        found = self._bucket.head(key)
        if found is None:
            raise MissingFileError(f"{key} was removed as soon as it was written: run again")
        os.utime(file, ns=(found.modified_ns, found.modified_ns))
        self._copy.note(key, found.etag)
        self._of_folder(key)[key] = Entry(*found)

    def keep_segment(self, key: str, content: bytes) -> None:
        self._check()
        self._bucket.write(key, content)

    def segments(self, folder: str) -> list[str]:
        return sorted(found.key for found in self._bucket.list(folder))

    def drop_segments(self, keys: list[str]) -> None:
        self._check()
        if keys:
            self._bucket.delete(*keys)

    def delete(self, key: str) -> None:
        self._check()
        self._bucket.delete(key)
        self._copy.drop(key)
        self._of_folder(key).pop(key, None)

    def read(self, key: str) -> tuple[bytes, str] | None:
        found = self._bucket.read(key)
        return (found[0], found[1].etag) if found else None

    def compare_and_swap(self, key: str, content: bytes, etag: str | None) -> str:
        self._check()
        return self._bucket.swap(key, content, etag)

    def _copy_or_upload(self, source: str, file: Path, key: str) -> None:
        if file.stat().st_size <= _MOST_COPIED:
            self._bucket.copy(source, key)
        else:
            self._bucket.upload(file, key)

    def _download(self, entry: Entry) -> None:
        target = self._root / entry.key
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
        try:
            with contextlib.suppress(MissingFileError):
                entry = self._download_current(entry, part)
                # The time of the store, by which files are recognized on every machine.
                os.utime(part, ns=(entry.modified_ns, entry.modified_ns))
                self._copy.set_aside(entry.key, part)
                part.replace(target)
                self._copy.note(entry.key, entry.etag)
                return
            self._copy.drop(entry.key)
        finally:
            part.unlink(missing_ok=True)

    def _download_current(self, entry: Entry, file: Path) -> Entry:
        """Downloads the object as listed, or as it is now if it was replaced since. Raises MissingFileError."""
        while True:
            try:
                self._bucket.download(entry.key, entry.etag, file)
            except ConflictError:
                found = self._bucket.head(entry.key)
                if found is None:
                    raise MissingFileError(f"{entry.key} was removed while it was being read: run again") from None
                entry = Entry(*found)
            else:
                if entry.key in self._of_folder(entry.key):
                    self._of_folder(entry.key)[entry.key] = entry
                return entry

    def _written(self, key: str, etag: str) -> Entry:
        status = (self._root / key).stat()
        self._copy.note(key, etag)
        entry = Entry(key, status.st_size, etag, status.st_mtime_ns)
        self._of_folder(key)[key] = entry
        return entry

    def _list(self, folder: str) -> dict[str, Entry]:
        found = (Entry(*found) for found in self._bucket.list(folder))
        return {entry.key: entry for entry in found if not _is_hidden(entry.key)}

    def _of_folder(self, key: str) -> dict[str, Entry]:
        """The listing in which the object belongs; an empty one if its folder has not been listed."""
        return self._listed.get(_listed_folder(key) or "", {})


def _listed_folder(key: str) -> str | None:
    """The folder that is listed whole: that of a table, such as `lake/pulls`, or of the root, such as `inbox`.

    None for an object outside of them, such as the published file.
    """
    parts = key.split("/")
    depth = 2 if parts[0] in _ZONES else 1
    return "/".join(parts[:depth]) if len(parts) > depth else None


def _is_hidden(key: str) -> bool:
    return any(part.startswith(".") for part in key.split("/"))
