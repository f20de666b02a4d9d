"""The client of an S3-compatible object store: requests, their time limits, and their errors in one line.

Endpoint, region and credentials come from the `AWS_*` variables, as in other programs. obstore is in the extra
`distributed`, so that a plain installation does not need it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.storage.errors import ConflictError, MissingFileError, StoreError

if TYPE_CHECKING:
    from obstore.store import ObjectStore as Client

REQUEST_TIMEOUT = timedelta(seconds=30)
_CONNECT_TIMEOUT = timedelta(seconds=5)
# A store that is away for half a minute does not end a run.
_RETRY_FOR = timedelta(seconds=45)
_LONGEST_BACKOFF = timedelta(seconds=3)
_STATUS = re.compile(r"status code: (\d+)")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_REMEDIES = {
    "NoSuchBucket": "the bucket does not exist: correct PHYGITALS_LAKE_URL or create the bucket",
    "InvalidAccessKeyId": "the access key is unknown: correct AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key is wrong: correct AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "the credentials have expired: renew them, then run again",
    "TokenRefreshRequired": "the credentials have expired: renew them, then run again",
    "InvalidToken": "the session token is invalid: correct AWS_SESSION_TOKEN",
    "AccessDenied": "access is denied: the credentials need to list, read, write and delete objects there",
    "PermanentRedirect": "the bucket is in another region: correct AWS_REGION",
    "AuthorizationHeaderMalformed": "the bucket is in another region: correct AWS_REGION",
}
_UNREACHABLE = "it cannot be reached: check AWS_ENDPOINT_URL and the network, then run again"
_NO_CREDENTIALS = "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"


class Found(NamedTuple):
    """An object in the bucket: key, bytes, etag, and the store's time of writing in ns since the epoch."""

    key: str
    size: int
    etag: str
    modified_ns: int


class Bucket:
    """The objects below one URL such as `s3://bucket/prefix`. Keys are relative to it.

    Every method raises StoreError with the reason when the store refuses or cannot be reached. The client is made when
    it is first needed, in the process that needs it: a client does not survive a fork.
    """

    def __init__(self, url: str, retry_for: timedelta = _RETRY_FOR) -> None:
        self.url = url
        self._retry_for = retry_for
        self._client: Client | None = None
        self._process = 0

    def list(self, prefix: str) -> Iterator[Found]:
        """The objects in the folder `prefix` and below, in no order."""
        with self._explained():
            for page in self._obstore.list(self._open(), prefix):
                for meta in page:
                    yield _found(meta)

    def head(self, key: str) -> Found | None:
        """One object; None if there is none."""
        try:
            with self._explained():
                return _found(self._obstore.head(self._open(), key))
        except MissingFileError:
            return None

    def read(self, key: str) -> tuple[bytes, Found] | None:
        """A small object's content and what the store says of it; None if there is none."""
        try:
            with self._explained():
                answer = self._obstore.get(self._open(), key)
                return bytes(answer.bytes()), _found(answer.meta)
        except MissingFileError:
            return None

    def download(self, key: str, etag: str, file: Path) -> None:
        """Writes the object with exactly this etag into a file.

        Raises MissingFileError if the object is gone, ConflictError if it was replaced, OSError for the disk.
        """
        with self._explained():
            answer = self._obstore.get(self._open(), key, options={"if_match": etag})
        with file.open("wb") as target, self._explained():
            for piece in answer:
                target.write(piece)

    def upload(self, file: Path, key: str) -> str:
        """Makes or replaces an object, in several parts if it is large. Returns the etag."""
        with self._explained():
            return str(self._obstore.put(self._open(), key, file)["e_tag"])

    def write(self, key: str, content: bytes) -> str:
        """Makes or replaces a small object. Returns the etag."""
        with self._explained():
            return str(self._obstore.put(self._open(), key, content, use_multipart=False)["e_tag"])

    def swap(self, key: str, content: bytes, etag: str | None) -> str:
        """Replaces a small object that has this etag, or makes it if `etag` is None. Returns the new etag.

        Raises ConflictError if the object has another etag. A retry of a write whose answer was lost is no conflict.
        """
        mode: Any = "create" if etag is None else {"e_tag": etag}
        try:
            with self._explained():
                return str(self._obstore.put(self._open(), key, content, mode=mode, use_multipart=False)["e_tag"])
        except (ConflictError, MissingFileError):
            found = self.read(key)
            if found and found[0] == content:
                return found[1].etag
            raise ConflictError(f"{key} in {self.url} was changed by another process") from None

    def copy(self, key: str, target: str) -> None:
        """Copies an object within the store."""
        with self._explained():
            self._obstore.copy(self._open(), key, target)

    def delete(self, *keys: str) -> None:
        """Removes objects; one that is gone is no error."""
        with self._explained(), contextlib.suppress(FileNotFoundError):
            self._obstore.delete(self._open(), list(keys))

    def now_ns(self) -> int:
        """The time by the store's clock, in ns since the epoch, to the second: no machine's clock counts."""
        self.write("leases/clock", os.urandom(8))
        found = self.head("leases/clock")
        if found is None:
            raise StoreError(f"the object store {self.url} lost an object that was just written: check the store")
        return found.modified_ns

    @property
    def _obstore(self) -> Any:
        try:
            import obstore
        except ModuleNotFoundError:
            raise StoreError(
                "PHYGITALS_LAKE_URL needs the package obstore: install phygitals-pipeline[distributed]"
            ) from None
        return obstore

    def _open(self) -> Client:
        if self._client is None or self._process != os.getpid():
            _ = self._obstore
            from obstore.store import S3Store

            with self._explained():
                self._client = S3Store.from_url(
                    self.url,
                    client_options={
                        "timeout": REQUEST_TIMEOUT,
                        "connect_timeout": _CONNECT_TIMEOUT,
                        # The settings refuse an unencrypted endpoint that is not on this machine.
                        "allow_http": os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"),
                    },
                    retry_config={
                        "max_retries": 1_000,
                        "retry_timeout": self._retry_for,
                        "backoff": {"max_backoff": _LONGEST_BACKOFF},
                    },
                )
            self._process = os.getpid()
        return self._client

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        from obstore.exceptions import (
            AlreadyExistsError,
            BaseError,
            NotFoundError,
            PermissionDeniedError,
            PreconditionError,
            UnauthenticatedError,
        )

        try:
            yield
        except (AlreadyExistsError, PreconditionError):
            raise ConflictError(f"an object in {self.url} was changed by another process") from None
        except (FileNotFoundError, NotFoundError) as error:
            if "NoSuchBucket" in str(error):
                raise self._error(_REMEDIES["NoSuchBucket"]) from None
            raise MissingFileError(f"an object in {self.url} was removed while it was being read: run again") from None
        except BaseError as error:
            # From None: the client's text spells out the request over many lines.
            denied = isinstance(error, PermissionDeniedError | UnauthenticatedError)
            raise self._error(_reason(str(error), denied)) from None

    def _error(self, reason: str) -> StoreError:
        return StoreError(f"the object store {self.url} cannot be used: {reason}")


def _reason(text: str, denied: bool) -> str:
    code, status = _CODE.search(text), _STATUS.search(text)
    if code and code[1] in _REMEDIES:
        return _REMEDIES[code[1]]
    if denied or (status and status[1] in ("401", "403")):
        return _REMEDIES["AccessDenied"]
    if "configured region" in text:
        return _REMEDIES["PermanentRedirect"]
    if status:
        named = f" ({code[1]})" if code else ""
        return f"it answered with status {status[1]}{named}: run again, and if the error persists, check the store"
    if "credential" in text.lower() or "169.254.169.254" in text:
        return _NO_CREDENTIALS
    return _UNREACHABLE


def _found(meta: Any) -> Found:
    return Found(meta["path"], meta["size"], str(meta["e_tag"]), int(meta["last_modified"].timestamp()) * 1_000_000_000)
