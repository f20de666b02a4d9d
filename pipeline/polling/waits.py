"""Until when the API asks not to be asked, kept from run to run: `Retry-After` may be longer than a run polls.

It may concern everybody, or certain sessions where others were served meanwhile. The file is a courtesy to the API:
losing it costs a question that comes too early.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from pipeline.polling.answers import LONGEST_WAIT
from pipeline.polling.progress import Progress
from pipeline.storage.kept_record import load_record, save_record
from pipeline.storage.layout import Layout


@dataclass(frozen=True)
class Waits:
    """Until when nobody is to be asked, and until when certain sessions are not, which are then still to come."""

    everybody: datetime | None = None
    sessions: dict[str, datetime] = field(default_factory=dict)

    @classmethod
    def of(cls, data: Layout, now: datetime) -> Waits:
        """Those that are not over. What cannot be read, or lies further ahead than anybody may ask for, is none."""
        recorded = load_record(_file(data), cls) or cls()
        sessions = {name: until for name, until in recorded.sessions.items() if _is_ahead(until, now)}
        everybody = recorded.everybody if recorded.everybody and _is_ahead(recorded.everybody, now) else None
        return cls(everybody, sessions)

    def after(self, progress: Progress) -> Waits:
        """Those and what a run was told."""
        return Waits(progress.wait_until, self.sessions | progress.waiting)

    def save(self, data: Layout) -> None:
        """Raises DataDirectoryError."""
        if not self.everybody and not self.sessions:
            with contextlib.suppress(OSError):
                _file(data).unlink(missing_ok=True)
            return
        recorded = {
            "everybody": self.everybody and self.everybody.isoformat(),
            "sessions": {name: until.isoformat() for name, until in self.sessions.items()},
        }
        save_record(_file(data), recorded)


def _file(data: Layout) -> Path:
    return data.record("asked_to_wait")


def _is_ahead(until: datetime, now: datetime) -> bool:
    return until.tzinfo is not None and now < until <= now + timedelta(seconds=LONGEST_WAIT)
