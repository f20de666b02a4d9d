"""The waits that the API requests by `Retry-After` beyond a run's poll budget, kept for the next runs.

A wait concerns all sessions, or single ones if others were served meanwhile. Losing the file costs one early request.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pipeline.polling.answers import LONGEST_WAIT
from pipeline.polling.progress import Progress
from pipeline.storage.records import Records

_NAME = "asked_to_wait"


@dataclass(frozen=True)
class Waits:
    """The end of a wait of all sessions, and the ends of waits of single sessions, all in the future."""

    everybody: datetime | None = None
    sessions: dict[str, datetime] = field(default_factory=dict)

    @classmethod
    def of(cls, records: Records, now: datetime) -> Waits:
        """The recorded waits that are not over; unreadable and implausibly long ones are ignored."""
        recorded = records.load(_NAME, cls) or cls()
        sessions = {name: until for name, until in recorded.sessions.items() if _is_ahead(until, now)}
        everybody = recorded.everybody if recorded.everybody and _is_ahead(recorded.everybody, now) else None
        return cls(everybody, sessions)

    def after(self, progress: Progress) -> Waits:
        """These waits, updated by those of a run."""
        return Waits(progress.wait_until, self.sessions | progress.waiting)

    def save(self, records: Records) -> None:
        """Raises DataDirectoryError."""
        if not self.everybody and not self.sessions:
            with contextlib.suppress(OSError):
                records.forget(_NAME)
            return
        recorded = {
            "everybody": self.everybody and self.everybody.isoformat(),
            "sessions": {name: until.isoformat() for name, until in self.sessions.items()},
        }
        records.save(_NAME, recorded)


def _is_ahead(until: datetime, now: datetime) -> bool:
    return until.tzinfo is not None and now < until <= now + timedelta(seconds=LONGEST_WAIT)
