"""The sessions of one run in compact arrays, since a run may start with a million of them.

This module has their state at the start of the run; `schedule` decides when each is polled.
"""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Callable, Iterable

import pyarrow as pa

from pipeline.storage.arrow_columns import column

NEVER = -math.inf
_PIECE = 10_000
_NO_IDS = column([], pa.string())


class PendingSessions:
    """Sessions by position, from 0. Times are seconds since the epoch.

    `started_at` is the time of initiation, or of submission if unknown; `asked_at` is the last request of an earlier
    run, or `NEVER`. A session takes about 60 bytes.
    """

    def __init__(self, ids: pa.Array, started_at: array[float], asked_at: array[float]) -> None:
        self._ids = ids
        self.started_at = started_at
        self.asked_at = asked_at

    @classmethod
    def of(cls, session_ids: Iterable[str], started_at: float) -> PendingSessions:
        """Sessions that started at one time and were never polled."""
        remaining = iter(session_ids)
        pieces = iter(lambda: list(itertools.islice(remaining, _PIECE)), [])
        ids = pa.concat_arrays([_NO_IDS, *(column(piece, pa.string()) for piece in pieces)])
        return cls(ids, array("d", [started_at]) * len(ids), array("d", [NEVER]) * len(ids))

    @classmethod
    def from_batches(cls, batches: Iterable[pa.RecordBatch]) -> PendingSessions:
        """From the columns session_id, started_at and asked_at, in this order; asked_at is NULL if never polled."""
        ids = [_NO_IDS]
        started_at, asked_at = array("d"), array("d")
        for batch in batches:
            ids.append(batch.column(0))
            started_at.extend(batch.column(1).to_pylist())
            asked_at.extend(NEVER if t is None else t for t in batch.column(2).to_pylist())
        return cls(pa.concat_arrays(ids), started_at, asked_at)

    def chosen(self, is_chosen: Callable[[str], bool]) -> PendingSessions:
        """The sessions whose ids are chosen, in their order."""
        mask = [is_chosen(session_id) for session_id in self._ids.to_pylist()]
        started_at, asked_at = (
            array("d", itertools.compress(times, mask)) for times in (self.started_at, self.asked_at)
        )
        return PendingSessions(self._ids.filter(pa.array(mask, pa.bool_())), started_at, asked_at)

    def __len__(self) -> int:
        return len(self._ids)

    def session_id(self, position: int) -> str:
        return str(self._ids[position].as_py())
