"""Findings of checks, and the record that caches them.

A finding depends on the check's SQL and on the objects of the tables that it reads. The recorded finding is valid while
neither changes. Losing the record costs one computation of every check.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.storage.records import Records

_NAME = "findings"


@dataclass(frozen=True)
class Finding:
    """The number of rows that break a check, and the first of them in Markdown.

    `computed_at` is set if an earlier run computed it and its inputs are unchanged.
    """

    offender_count: int
    examples: list[str]
    is_of_nothing: bool = False
    computed_at: datetime | None = None

    @property
    def message(self) -> str | None:
        """The offending rows in words, or a note that no row was compared; None if the check passes."""
        if self.is_of_nothing:
            return "nothing was compared: the data for the comparison are missing"
        if not self.examples:
            return None
        more = self.offender_count - len(self.examples)
        return "; ".join(self.examples) + (f"; and {more} more" if more else "")


class FindingRecord:
    """The latest finding of each check by the check's key, with a fingerprint of its inputs."""

    def __init__(self, findings: dict[str, tuple[str, Finding]] | None = None) -> None:
        self._findings = findings or {}
        self._is_changed = False

    @classmethod
    def of(cls, records: Records) -> FindingRecord:
        """The recorded findings; none if the record is missing, damaged or of another version."""
        return cls(records.load(_NAME, dict[str, tuple[str, Finding]]))

    def finding(self, key: str, inputs: str) -> Finding | None:
        """The recorded finding of a check; None if its inputs changed or it was never computed."""
        recorded, finding = self._findings.get(key, (None, None))
        return finding if recorded == inputs else None

    def note(self, key: str, inputs: str, finding: Finding) -> None:
        self._findings[key] = (inputs, finding)
        self._is_changed = True

    def save(self, records: Records) -> None:
        """Writes the record if it changed. Raises DataDirectoryError."""
        if self._is_changed:
            recorded = {key: (inputs, _recorded(finding)) for key, (inputs, finding) in self._findings.items()}
            records.save(_NAME, recorded)
            self._is_changed = False


def _recorded(finding: Finding) -> dict[str, Any]:
    computed_at = finding.computed_at.isoformat() if finding.computed_at else None
    return {**vars(finding), "computed_at": computed_at}
