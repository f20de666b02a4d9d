"""The writer lease of a lake in an object store: one run writes at a time, whichever machine it is on.

The lease is a small object. Its holder replaces it every few seconds by a conditional write; a lease that was not
renewed for its time to live may be taken over. Its age is measured by the store's clock. The holder measures its own
time from before it sent the renewal, on a clock that also runs while the machine sleeps, and stops a margin earlier.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.storage.bucket import Bucket, Found
from pipeline.storage.errors import ConflictError, DataDirectoryError, LeaseLostError, StoreError

KEY = "leases/build.json"
TIME_TO_LIVE = 60.0  # seconds without a renewal until another run may take over
_RENEWED_EVERY = 15.0
_MARGIN = 10.0  # for the time between the check of the lease and the arrival of the write that it allows
_RETRY_FOR = timedelta(seconds=5)
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Lease:
    """The lease of one lake, or of one of its polling shards. `time_to_live` is in seconds."""

    def __init__(self, url: str, time_to_live: float = TIME_TO_LIVE, key: str = KEY) -> None:
        self._bucket = Bucket(url, _RETRY_FOR)
        self._time_to_live = time_to_live
        self._key = key
        self._holder = uuid.uuid4().hex
        self._etag: str | None = None
        self._valid_until: float | None = None
        self._lost = False

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Holds the lease within the block, renewed by a thread.

        Raises DataDirectoryError at once if another run holds it, StoreError if the store cannot be used.
        """
        self._take()
        over = threading.Event()
        renewal = threading.Thread(target=self._renew_until, args=(over,), name="lease", daemon=True)
        renewal.start()
        try:
            yield
        finally:
            over.set()
            renewal.join()
            self._release()

    def check(self) -> None:
        """Raises LeaseLostError if this process held the lease and no longer does. Costs no request."""
        if self._valid_until is not None and (self._lost or _seconds() >= self._valid_until):
            raise LeaseLostError(
                f"this run lost its lease on {self._bucket.url}, because it could not renew it in time or another run "
                "took over: received answers are kept; the other run continues, or run again"
            )

    def is_held(self) -> bool:
        """Whether a run on any machine holds the lease. Raises StoreError."""
        found = self._bucket.read(self._key)
        return bool(found and _content(found[0]).get("holder") and not self._is_over(found[1]))

    @property
    def holder(self) -> str:
        """The name of this process as a holder."""
        return self._holder

    def was_abandoned_by(self, holder: str) -> bool:
        """Whether that holder neither renewed nor released the lease in its time to live. Raises StoreError."""
        found = self._bucket.read(self._key)
        return bool(found and _content(found[0]).get("holder") == holder and self._is_over(found[1]))

    def _take(self) -> None:
        sent_at = _seconds()
        found = self._bucket.read(self._key)
        if found and (former := _content(found[0])).get("holder") and not self._is_over(found[1]):
            raise self._taken(former)
        try:
            self._write(found[1].etag if found else None, sent_at)
        except ConflictError:
            current = self._bucket.read(self._key)
            raise self._taken(_content(current[0]) if current else {}) from None

    def _is_over(self, found: Found) -> bool:
        """Whether the lease as found was not renewed for its time to live."""
        try:
            moment = self._bucket.now_ns()
        except StoreError:
            moment = time.time_ns()  # a reader without the right to write has only its own clock
        return moment - found.modified_ns > self._time_to_live * 1e9

    def _write(self, etag: str | None, sent_at: float) -> None:
        content = {
            "holder": self._holder,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "renewed_at": datetime.now(UTC).isoformat(),
            "renewal": uuid.uuid4().hex,  # each renewal has an etag of its own
        }
        self._etag = self._bucket.swap(self._key, json.dumps(content).encode(), etag)
        self._valid_until = sent_at + self._time_to_live - min(_MARGIN, self._time_to_live / 4)
        self._lost = False

    def _renew_until(self, over: threading.Event) -> None:
        every = min(_RENEWED_EVERY, self._time_to_live / 4)
        while not over.wait(every):
            sent_at = _seconds()
            if self._valid_until is None or sent_at >= self._valid_until:
                return  # the lease may be another run's by now
            try:
                self._write(self._etag, sent_at)
            except ConflictError:
                self._lost = True
                return
            except StoreError:
                continue  # the store is away; the lease stays valid for its time

    def _release(self) -> None:
        is_lost = self._lost or self._valid_until is None or _seconds() >= self._valid_until
        self._valid_until = None
        if not is_lost:
            # If the store is away now, the lease ends by itself.
            with contextlib.suppress(StoreError):
                self._bucket.swap(self._key, json.dumps({"holder": None, "was": self._holder}).encode(), self._etag)

    def _taken(self, holder: dict[str, Any]) -> DataDirectoryError:
        host, process = holder.get("host", "another machine"), holder.get("process", "?")
        return DataDirectoryError(
            f"another run is writing to {self._bucket.url} (process {process} on {host}, last seen "
            f"{str(holder.get('renewed_at', 'just now'))[:19]}): wait for it to end, or stop it; if it died, its lease "
            f"ends {self._time_to_live:.0f} seconds after that"
        )


def _content(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}  # a damaged lease is nobody's
    return found if isinstance(found, dict) else {}


def _seconds() -> float:
    return time.clock_gettime(_CLOCK)
