"""The columns of submission files: which of a file's columns are ours, and what a reader makes of a file's rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.errors import PipelineError
from pipeline.sources.listing import printable

COLUMNS = ("session_id", "initiated_at", "pack_id", "price_usd", "quantity", "user_id")
SELLBACK_COLUMNS = ("item_id", "session_id", "sold_at", "amount_usd")
# Written by `phygitals submit`, so that submitting the same ids again is a new file; carries nothing.
SUBMISSION_ID = "submission_id"


class UnreadableFileError(PipelineError):
    """The file as a whole cannot be read. The message is the reason alone; the caller names the file."""


class RowError(PipelineError):
    """A row, or one value in it, cannot be accepted. `raw_value` is the text at fault.

    A message about a column begins with the column's name.
    """

    def __init__(self, reason: str, raw_value: object = None) -> None:
        super().__init__(reason)
        try:
            self.raw_value = None if raw_value is None else str(raw_value)
        except (ValueError, RecursionError):
            self.raw_value = type(raw_value).__name__  # nested too deeply to be shown, say


# The number of the row, and its values by column or why it cannot be read. So may single values be RowErrors.
Record = tuple[int, Mapping[str, Any] | RowError]
OnUnknownColumns = Callable[[Collection[str]], None]


class Found(NamedTuple):
    """Columns of a file: where those that are known are, which of these come twice, and what others are called."""

    places: dict[str, int]
    repeated: list[str]
    unknown: set[str]


def find_columns(names: Sequence[str], known: Sequence[str]) -> Found:
    """Finds the known columns among the names of a file's columns, which count in any case.

    Columns without a name are nobody's; of repeated ones, only those that are known matter.
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
