"""Until when the API asks not to be asked, kept from run to run: `Retry-After` may be longer than a run polls.

It may concern everybody, or certain sessions where others were served meanwhile. The file is a courtesy to the API:
losing it costs a question that comes too early.
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from pipeline.lake.directory import DataDirectory, replace_file
from pipeline.polling.answers import LONGEST_WAIT
from pipeline.polling.progress import Progress


@dataclass(frozen=True)
class Waits:
    """Until when nobody is to be asked, and until when certain sessions are not, which are then still to come."""

    everybody: datetime | None = None
    sessions: dict[str, datetime] = field(default_factory=dict)

    @classmethod
    def of(cls, data: DataDirectory, now: datetime) -> Waits:
        """Those that are not over. What cannot be read, or lies further ahead than anybody may ask for, is none."""
        try:
            recorded = json.loads(_file(data).read_text(encoding="utf-8"))
            everybody = _ahead(recorded["everybody"], now)
            sessions = {str(name): _ahead(until, now) for name, until in recorded["sessions"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return cls()
        return cls(everybody, {name: until for name, until in sessions.items() if until})

    def after(self, progress: Progress) -> Waits:
        """Those and what a run was told."""
        return Waits(progress.wait_until, self.sessions | progress.waiting)

    def save(self, data: DataDirectory) -> None:
        """Raises DataDirectoryError."""
        if not self.everybody and not self.sessions:
            with contextlib.suppress(OSError):
                _file(data).unlink(missing_ok=True)
            return
        recorded = {
            "everybody": self.everybody and self.everybody.isoformat(),
            "sessions": {name: until.isoformat() for name, until in self.sessions.items()},
        }
        replace_file(_file(data), json.dumps(recorded))


def _file(data: DataDirectory) -> Path:
    return data.root / "staging" / "asked_to_wait.json"


def _ahead(until: str | None, now: datetime) -> datetime | None:
    moment = datetime.fromisoformat(until) if until else None
    return moment if moment and now < moment <= now + timedelta(seconds=LONGEST_WAIT) else None
