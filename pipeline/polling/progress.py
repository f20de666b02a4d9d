"""The progress of a polling run, as numbers and as text."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from pipeline.polling.answers import Outcome


class Exit(StrEnum):
    """The reason for the end of a run that was neither refused nor interrupted."""

    ALL_FINAL = "every session is final"
    BUDGET_USED = "the poll budget is used up"
    ASKED_TO_WAIT = "the API asks to wait"
    SESSIONS_WAIT = "the API asks to wait with the remaining sessions"


@dataclass
class Progress:
    """The progress of a run. `seconds` is the time since its start.

    If the API asked to wait beyond the poll budget, `waiting` has the end of the wait by session. If the run ended for
    that reason, `wait_until` is the time before which no session is polled.
    """

    total: int
    seconds: float = 0.0
    requests: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    exit: Exit | None = None
    wait_until: datetime | None = None
    waiting: dict[str, datetime] = field(default_factory=dict)

    @property
    def fulfilled(self) -> int:
        return self.outcomes[Outcome.FULFILLED]

    @property
    def failed(self) -> int:
        return self.outcomes[Outcome.FAILED]

    @property
    def pending(self) -> int:
        return self.total - self.fulfilled - self.failed

    @property
    def rate(self) -> float:
        """Requests per second so far."""
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def all_outcomes(self) -> dict[Outcome, int]:
        """Answers by outcome, with zero for absent outcomes."""
        return {outcome: self.outcomes[outcome] for outcome in Outcome}

    @property
    def line(self) -> str:
        """The progress as one line for a log."""
        left = self.seconds_left
        estimate = f", about {left:.0f} s left" if left and left >= 1 and not self.exit else ""
        return (
            f"{self.fulfilled} fulfilled, {self.failed} failed, {self.pending} pending of {self.total} sessions; "
            f"{self.requests} requests at {self.rate:.1f}/s in {self.seconds:.0f} s{estimate}"
        )

    @property
    def ending(self) -> str:
        """The reason for the end of polling, in words."""
        if self.exit is None:
            return "no session was pending"
        if self.exit is Exit.ASKED_TO_WAIT and self.wait_until:
            return f"{self.exit} until {_minute_after(self.wait_until)}; no session is polled before then"
        if self.exit is Exit.SESSIONS_WAIT:
            return f"{self.exit}, the first until {_minute_after(min(self.waiting.values()))}"
        return self.exit.value

    @property
    def seconds_left(self) -> float | None:
        """An estimate from the mean rate so far; None before the first final answer."""
        resolved = self.fulfilled + self.failed
        return self.seconds / resolved * self.pending if resolved else None


def _minute_after(moment: datetime) -> str:
    """The time in whole minutes, rounded up."""
    return f"{moment + timedelta(seconds=59):%Y-%m-%d %H:%M} UTC"
