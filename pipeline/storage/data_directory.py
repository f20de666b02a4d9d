"""One environment's data directory: its paths, its objects, its lock, and the environment to which it is bound."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.process import MEMORY_LIMIT
from pipeline.schema.table import Table
from pipeline.storage.errors import ConflictError, DataDirectoryError
from pipeline.storage.files import for_owner_and_group
from pipeline.storage.journal_segments import JournalSegments
from pipeline.storage.layout import Layout
from pipeline.storage.local_folder import LocalFolder
from pipeline.storage.lock import WriterLock
from pipeline.storage.object_storage import ObjectStorage
from pipeline.storage.objects import Store
from pipeline.storage.parquet_query import has_literal_path
from pipeline.storage.records import Records
from pipeline.storage.spill import remove_dead

if TYPE_CHECKING:
    from pipeline.storage.lease import Lease

_ENVIRONMENT = "environment.json"
_LEASES = "leases/"
_SHARDS_END_WITHIN = 75.0  # seconds: a lease ends 60 seconds after the death of its holder
_BETWEEN_LOOKS = 0.5  # seconds


class DataDirectory(Layout):
    """One environment's data: paths, objects (`store`), records and lock.

    With `lake_url`, such as `s3://bucket/prefix`, the data are in that object store, the folder `root` is a working
    copy of them, and a lease guards them in addition to the lock. With `shard`, lock and lease are those of one polling
    shard, which adds answers to raw while the run that began the round holds the directory.

    Code that only needs paths takes a `Layout`; code that only reads or writes objects takes a `Store`.
    """

    def __init__(
        self,
        root: Path,
        lake_url: str | None = None,
        memory_limit: str = MEMORY_LIMIT,
        shard: int | None = None,
    ) -> None:
        super().__init__(root, memory_limit)
        self.lake_url = lake_url
        self._shard = shard
        self._lock = WriterLock(self.lock_file if shard is None else self.shard_lock(shard))
        self._lease = _lease(lake_url, shard) if lake_url else None
        self.storage: ObjectStorage = LocalFolder(root)
        if lake_url and self._lease:
            self.storage = _object_store(root, lake_url, self._lease)
        self.store = Store(self.storage)
        self.records = Records(self.storage)
        self._is_held = False

    def shard(self, number: int) -> DataDirectory:
        """The same data, for the process that polls one shard."""
        return DataDirectory(self.root, self.lake_url, self.memory_limit, number)

    @property
    def address(self) -> str:
        """The place of the data, for people."""
        return f"the lake {self.lake_url}" if self.lake_url else f"the data directory {self.root}"

    def current(self, path: Path) -> Path:
        """Makes sure that a file below the root is current, and returns its path. Raises StoreError."""
        self.storage.fetch([self._key(path)])
        return path

    def push(self, path: Path, versions: int = 0) -> None:
        """Publishes a file that was written in place; see `ObjectStorage.push`. Raises StoreError."""
        self.storage.push(self._key(path), versions)

    def journal_segments(self, table: Table) -> JournalSegments:
        """The pieces of a raw table's journals that survive this machine."""
        return JournalSegments(self.storage, self._key(self.journal(table)))

    def check_lease(self) -> None:
        """Raises LeaseLostError if this process had the lease and lost it. Costs no request."""
        if self._lease:
            self._lease.check()

    def claim(self, environment: str, api_url: str) -> None:
        """Creates the directory if it is missing, and binds it to one environment and API URL.

        The binding is permanent once the directory contains submissions or answers. An empty directory may be bound
        anew. Raises DataDirectoryError if the directory is bound to another environment or URL, is not writable, or has
        a path that DuckDB cannot open.
        """
        if not has_literal_path(str(self.root)):
            raise DataDirectoryError(
                f"the data directory {self.root} cannot be used: DuckDB cannot open a path with both a backslash and "
                "one of *, ? and [; set PHYGITALS_DATA_DIR to another one"
            )
        mine = {"environment": environment, "api_url": api_url}
        with self._usable(), for_owner_and_group():
            self.offer_inbox()
            self.scratch.mkdir(exist_ok=True)
            theirs, etag = self._bound_to()
            if theirs is None or (theirs != mine and self._holds_nothing() and not self.is_being_written()):
                content = json.dumps(mine, indent=2) + "\n"
                with contextlib.suppress(ConflictError):  # two processes bind it at once, and the first one wins
                    self.storage.compare_and_swap(_ENVIRONMENT, content.encode(), etag)
                theirs, _ = self._bound_to()
        if theirs != mine:
            raise self._anothers(theirs, mine)

    def check(self, environment: str, api_url: str) -> None:
        """Raises DataDirectoryError if `claim` would refuse the environment and the API URL. Changes nothing."""
        mine = {"environment": environment, "api_url": api_url}
        with self._usable():
            theirs, _ = self._bound_to()
            is_anothers = theirs not in (None, mine) and not self._holds_nothing()
        if is_anothers:
            raise self._anothers(theirs, mine)

    def _anothers(self, theirs: dict[str, str] | None, mine: dict[str, str]) -> DataDirectoryError:
        names = ["{environment} at {api_url}".format_map(defaultdict(str, bound or {})) for bound in (theirs, mine)]
        return DataDirectoryError(
            f"{self.address} holds data of {names[0]}, not of {names[1]}: "
            f"set {'PHYGITALS_LAKE_URL' if self.lake_url else 'PHYGITALS_DATA_DIR'} to another one"
        )

    def offer_inbox(self) -> None:
        """Creates the inbox without binding the directory. Raises DataDirectoryError."""
        with self._usable(), for_owner_and_group():
            self.inbox.mkdir(parents=True, exist_ok=True)

    def _bound_to(self) -> tuple[dict[str, str] | None, str | None]:
        """The environment and the API URL to which the data are bound, and the etag of the file that says so."""
        found = self.storage.read(_ENVIRONMENT)
        if found is None:
            return None, None
        try:
            bound: object = json.loads(found[0])
        except ValueError:
            bound = None
        if not isinstance(bound, dict) or not bound.keys() >= {"environment", "api_url"}:
            place = f"{self.lake_url}/{_ENVIRONMENT}" if self.lake_url else self.environment_file
            raise DataDirectoryError(
                f"{place} is damaged, so the environment of these data is unknown: restore it from a backup"
            )
        return bound, found[1]

    def _holds_nothing(self) -> bool:
        """Whether there are no submissions and no answers. Everything else is derived from these."""

        def unreadable(error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                raise error

        if self.storage.is_remote:
            return not any(self.storage.segments(self._key(top)) for top in (self.inbox, self.sellbacks, self.raw))
        return not any(
            names or any(Path(folder, name).is_symlink() for name in folders)
            for top in (self.inbox, self.sellbacks, self.raw)
            for folder, folders, names in os.walk(top, onerror=unreadable)
        )

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Holds the lock. The operating system releases it when the process ends, even after a kill.

        Blocks of the same DataDirectory may be nested. Raises DataDirectoryError at once if another process or
        DataDirectory holds the lock, or if the directory is missing or not writable.
        """
        if self._is_held:
            yield
            return
        if self.lake_url:
            self.offer_inbox()
        if not self.root.is_dir():
            raise DataDirectoryError(
                f"{self.root} does not exist yet: create it with `phygitals submit` or `phygitals refresh`"
            )
        with contextlib.ExitStack() as held:
            with self._usable():
                held.enter_context(self._lock.hold())
                self._is_held = True
                held.callback(self._released)
                if self._lease:
                    held.enter_context(self._lease.hold())
                self.storage.refresh()
                held.callback(self.storage.refresh)
                if self._shard is None:
                    self._wait_for_shards()
                    self.store.sweep()
                    remove_dead(self.scratch)
            with for_owner_and_group():
                yield

    @property
    def is_held(self) -> bool:
        """Whether this DataDirectory holds the lock, so that no other process changes objects."""
        return self._is_held

    def is_being_written(self) -> bool:
        """Whether a process holds the lock, or one on another machine the lease. Raises StoreError."""
        return self._lock.is_held() or (self._lease is not None and self._lease.is_held())

    @property
    def lease_holder(self) -> str | None:
        """The name under which this process holds the lease; None without a lake in an object store."""
        return self._lease.holder if self._lease else None

    def was_abandoned_by(self, lease_holder: str) -> bool:
        """Whether the process of that name died with the lease. Raises StoreError."""
        return self._lease is not None and self._lease.was_abandoned_by(lease_holder)

    def _wait_for_shards(self) -> None:
        """Waits for the polling shards of an earlier run, which end soon after it.

        Their journals and unfinished files are not this run's to seal and to remove yet. Raises DataDirectoryError.
        """
        deadline = time.monotonic() + _SHARDS_END_WITHIN
        while any(self.shard(number).is_being_written() for number in self._shards()):
            if time.monotonic() >= deadline:
                raise DataDirectoryError(
                    f"a polling shard of an earlier run is still writing to {self.address}: wait for it to end, or "
                    "stop its process"
                )
            time.sleep(_BETWEEN_LOOKS)

    def _shards(self) -> list[int]:
        if self.lake_url:
            names = [key.removeprefix(_LEASES) for key in self.storage.segments(_LEASES.rpartition("/")[0])]
            numbers = [name.removeprefix("poll-").removesuffix(".json") for name in names if name.startswith("poll-")]
        else:
            numbers = [path.name.rpartition("-")[2] for path in self.root.glob(self.shard_lock(0).name[:-1] + "*")]
        return sorted(int(number) for number in numbers if number.isdecimal())

    def _key(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _released(self) -> None:
        self._is_held = False

    @contextlib.contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            if any(path.is_file() for path in (self.root, *self.root.parents)):
                raise NotADirectoryError
            yield
        except NotADirectoryError as error:
            raise DataDirectoryError(
                f"the data directory {self.root} is a file, or below one: set PHYGITALS_DATA_DIR to a folder"
            ) from error
        except OSError as error:
            raise DataDirectoryError(
                f"the data directory {self.root} cannot be used: {error.strerror}; "
                "make it writable or set PHYGITALS_DATA_DIR to another one"
            ) from error


def _lease(lake_url: str, shard: int | None) -> Lease:
    from pipeline.storage.lease import KEY, Lease  # local use does not pay for its import

    return Lease(lake_url, key=KEY if shard is None else f"{_LEASES}poll-{shard}.json")


def _object_store(root: Path, lake_url: str, lease: Lease) -> ObjectStorage:
    from pipeline.storage.object_store import ObjectStore

    return ObjectStore(root, lake_url, lease.check)
