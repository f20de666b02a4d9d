"""The columns of submitted files, and the records that readers make of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.errors import PipelineError
from pipeline.sources.listing import printable

COLUMNS = ("session_id", "initiated_at", "pack_id", "price_usd", "quantity", "user_id")
SELLBACK_COLUMNS = ("item_id", "session_id", "sold_at", "amount_usd")
# Written by `phygitals submit`, so that a repeated submission of the same ids is a file with new content; not stored.
SUBMISSION_ID = "submission_id"
# In records of a database: the row's cursor, as text. No file has it.
SOURCE_CURSOR = "source_cursor"


class UnreadableFileError(PipelineError):
    """The file as a whole cannot be read. The message is the reason alone; the caller names the file."""


class RowError(PipelineError):
    """A row or a value of it is rejected. `raw_value` is the offending text.

    A message about a column begins with the column's name.
    """

    def __init__(self, reason: str, raw_value: object = None) -> None:
        super().__init__(reason)
        try:
            self.raw_value = None if raw_value is None else str(raw_value)
        except (ValueError, RecursionError):
            self.raw_value = type(raw_value).__name__  # for example, nested too deeply for str()


# The row's number, and its values by column or the error of the row. A single value may be a RowError, too.
Record = tuple[int, Mapping[str, Any] | RowError]
OnUnknownColumns = Callable[[Collection[str]], None]


class Found(NamedTuple):
    """The columns of a file: the positions of known ones, repeated known ones, and the names of unknown ones."""

    places: dict[str, int]
    repeated: list[str]
    unknown: set[str]


def find_columns(names: Sequence[str], known: Sequence[str]) -> Found:
    """Finds the known columns among a file's column names, without regard to case.

    Columns without a name, and repeated unknown columns, are ignored.
    """
    cleaned = [name.strip() for name in names]
    folded = [name.lower() for name in cleaned]
    counts = Counter(folded)
    ignored = {*known, SUBMISSION_ID, ""}
    return Found(
        {name: folded.index(name) for name in known if name in counts},
        [name for name in known if counts[name] > 1],
        {printable(name) for name, fold in zip(cleaned, folded, strict=True) if fold not in ignored},
    )
