"""What a check found, and the record of findings that spares computing one again from the same data.

A finding follows from the check's SQL and from the objects of the tables that it reads. While neither changes, the
recorded finding stands. The record is a cache: losing it costs one computation of every check.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pipeline.lake.directory import DataDirectory, replace_file


@dataclass(frozen=True)
class Finding:
    """How many rows break a check, and the first few of them, in Markdown.

    `computed_at` is set where an earlier run computed it, and nothing that the check reads has changed since.
    """

    offender_count: int
    examples: list[str]
    is_of_nothing: bool = False
    computed_at: datetime | None = None

    @property
    def message(self) -> str | None:
        """The rows that break it, in words, or that there was nothing to compare; None when all is well."""
        if self.is_of_nothing:
            return "nothing was compared: what the rule compares with is not known"
        if not self.examples:
            return None
        more = self.offender_count - len(self.examples)
        return "; ".join(self.examples) + (f"; and {more} more" if more else "")


class FindingRecord:
    """The latest finding of each check, by the check's name, with a fingerprint of what it was computed from."""

    def __init__(self, data: DataDirectory) -> None:
        self._path = data.root / "staging" / "findings.json"
        self._is_changed = False
        self._findings: dict[str, tuple[str, Finding]] = {}
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            self._findings = {name: (inputs, _restored(finding)) for name, (inputs, finding) in found.items()}
        except (OSError, ValueError, TypeError, AttributeError, KeyError):
            self._findings = {}  # absent, damaged or of another version

    def finding(self, name: str, inputs: str) -> Finding | None:
        """The recorded finding of a check; None where it was computed from something else, or never."""
        recorded, finding = self._findings.get(name, (None, None))
        return finding if recorded == inputs else None

    def note(self, name: str, inputs: str, finding: Finding, moment: datetime) -> None:
        self._findings[name] = (inputs, replace(finding, computed_at=moment))
        self._is_changed = True

    def save(self) -> None:
        """Writes the record, where it has changed. Raises DataDirectoryError."""
        if self._is_changed:
            recorded = {name: (inputs, _recorded(finding)) for name, (inputs, finding) in self._findings.items()}
            replace_file(self._path, json.dumps(recorded))
            self._is_changed = False


def _recorded(finding: Finding) -> dict[str, Any]:
    computed_at = finding.computed_at.isoformat() if finding.computed_at else None
    return {**vars(finding), "computed_at": computed_at}


def _restored(recorded: dict[str, Any]) -> Finding:
    return Finding(
        int(recorded["offender_count"]),
        [str(example) for example in recorded["examples"]],
        bool(recorded["is_of_nothing"]),
        datetime.fromisoformat(recorded["computed_at"]),
    )
