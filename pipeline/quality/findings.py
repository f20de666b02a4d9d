"""Findings of checks, and the record that caches them.

A finding depends on the check's SQL and on the objects of the tables that it reads. The recorded finding is valid while
neither changes. If only some parts of the tables change, a check that found nothing before looks at these alone. Losing
the record costs one computation of every check.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec

from pipeline.storage.manifest import digest
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


class Recorded(msgspec.Struct):
    """The findings by the checks' keys, each with a fingerprint of its inputs, and what the passed ones looked at.

    `passed` has, for each check that is cut by time and passed, a fingerprint of its rule and the name of an entry of
    `parts`: the fingerprints of the rows in each part. Checks of the same tables share an entry.
    """

    findings: dict[str, tuple[str, Finding]] = {}
    passed: dict[str, tuple[str, str]] = {}
    parts: dict[str, dict[str, str]] = {}


class FindingRecord:
    """The latest finding of each check, with a fingerprint of its inputs."""

    def __init__(self, recorded: Recorded | None = None) -> None:
        self._recorded = recorded or Recorded()
        self._findings = self._recorded.findings
        self._is_changed = False

    @classmethod
    def of(cls, records: Records) -> FindingRecord:
        """The recorded findings; none if the record is missing, damaged or of another version."""
        return cls(records.load(_NAME, Recorded))

    def finding(self, key: str, inputs: str) -> Finding | None:
        """The recorded finding of a check; None if its inputs changed or it was never computed."""
        recorded, finding = self._findings.get(key, (None, None))
        return finding if recorded == inputs else None

    def note(self, key: str, inputs: str, finding: Finding) -> None:
        self._findings[key] = (inputs, finding)
        self._is_changed = True

    def clean_parts(self, key: str, rule: str) -> dict[str, str]:
        """The parts in which the check with this rule found nothing, with the fingerprints of their rows."""
        recorded, name = self._recorded.passed.get(key, (None, ""))
        return self._recorded.parts.get(name, {}) if recorded == rule else {}

    def note_clean(self, key: str, rule: str, parts: dict[str, str]) -> None:
        """Records that the check found nothing in these parts."""
        name = digest(parts)
        self._recorded.passed[key] = (rule, name)
        self._recorded.parts[name] = parts
        self._is_changed = True

    def forget_clean(self, key: str) -> None:
        """Records that the check found something, so that all parts have to be looked at again."""
        self._is_changed |= self._recorded.passed.pop(key, None) is not None

    def save(self, records: Records) -> None:
        """Writes the record if it changed. Raises DataDirectoryError."""
        if self._is_changed:
            used = {name for _, name in self._recorded.passed.values()}
            self._recorded.parts = {name: parts for name, parts in self._recorded.parts.items() if name in used}
            records.save(_NAME, msgspec.to_builtins(self._recorded))
            self._is_changed = False
