"""The seam between intake and the places from which records come: the inbox, and a database beside it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Protocol, TypeVar

from pipeline.sources.columns import Record
from pipeline.sources.kinds import Kind


class Batch(Protocol):
    """Records that are read once and become one raw object, such as the rows of a file, or a part of a database's.

    `name` is for people and tables. `rows_object` and `rejection_object` name the raw object with the rows and the one
    with the reason for which the whole batch was rejected; they follow from the content, so that the same content read
    twice adds nothing. `former_objects` are names that earlier versions gave the same content.
    """

    @property
    def name(self) -> str: ...

    @property
    def content_sha256(self) -> str: ...

    @property
    def rows_object(self) -> str: ...

    @property
    def rejection_object(self) -> str: ...

    @property
    def former_objects(self) -> frozenset[str]: ...

    def records(self, note_unknown: Callable[[Iterable[str]], None]) -> Generator[Record, None, None]:
        """The records with their numbers; `note_unknown` receives the names of ignored columns.

        Raises UnreadableFileError if the whole batch is rejected, and UnavailableFileError if it cannot be read now.
        """

    def confirm(self) -> None:
        """Raises UnavailableFileError if the content has changed since it was hashed."""


AnyBatch = TypeVar("AnyBatch", bound=Batch)


class Source(Protocol[AnyBatch]):
    """A place from which records of one kind come."""

    @property
    def kind(self) -> Kind: ...

    def batches(self, left: dict[str, str]) -> Iterator[AnyBatch]:
        """The new batches, each readable until the next one is asked for. The former one was marked as read by then.

        Notes in `left`, by name, why something was not read; the next run tries it again. Raises no error of its place.
        """

    def mark_read(self, batch: AnyBatch) -> None:
        """Notes that a batch need not be read again."""

    def save(self) -> None:
        """Saves what was noted. Raises DataDirectoryError."""
