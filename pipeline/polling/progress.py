"""Where a run of polling stands, in numbers and in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from pipeline.polling.answers import Outcome


class Exit(StrEnum):
    """Why a run stopped asking, when it was neither refused nor interrupted."""

    ALL_FINAL = "every session is final"
    BUDGET_USED = "the poll budget is used up"


@dataclass
class Progress:
    """Where a run stands. `seconds` is since its start."""

    total: int
    seconds: float = 0.0
    requests: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    exit: Exit | None = None

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
        """Answers by meaning, with a zero for those that did not come."""
        return {outcome: self.outcomes[outcome] for outcome in Outcome}

    @property
    def line(self) -> str:
        """Where the run stands, for a log."""
        left = self.seconds_left
        estimate = f", about {left:.0f} s left" if left and left >= 1 and not self.exit else ""
        return (
            f"{self.fulfilled} fulfilled, {self.failed} failed, {self.pending} pending of {self.total} sessions; "
            f"{self.requests} requests at {self.rate:.1f}/s in {self.seconds:.0f} s{estimate}"
        )

    @property
    def seconds_left(self) -> float | None:
        """An estimate from the mean rate so far; None before the first final answer."""
        resolved = self.fulfilled + self.failed
        return self.seconds / resolved * self.pending if resolved else None
