"""The daily digest: a few lines of plain text about the published file, for a chat service.

Chat services interpret markup and mentions, and some open links. Received ids are therefore shown in code spans, with
every character escaped that is neither a letter, a digit, nor one of `-` and `_`.
"""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.report.comparison import compared
from pipeline.report.first_screen import long_pending, status_line
from pipeline.report.queries import Facts
from pipeline.report.wording import counted, day, duration

_ID_LENGTH = 64
_IDS_SHOWN = 5
_UNSAFE = re.compile("[^A-Za-z0-9_-]")


def digest(facts: Facts, environment: str, host: str, report: Path) -> str:
    """The status, yesterday against the week before, unusual signals, sessions for a person, and the report's path."""
    unusual = [row["sentence"] for row in facts.signals if row["is_unusual"]]
    sections = [
        [f"Phygitals {environment} on {host}: {status_line(facts)}"],
        [f"Yesterday, {day(facts.yesterday)}, and the 7 days before:"],
        [f"- {row.label}: {row.yesterday}, before {row.week_before}" for row in compared(facts)],
        ["Unusual yesterday:", *(f"- {sentence}" for sentence in unusual)] if unusual else [],
        _for_a_person(facts),
        [f"Report: {report}"],
    ]
    return "\n".join(line for section in sections for line in section)


def _for_a_person(facts: Facts) -> list[str]:
    """The sessions that are pending for too long, the oldest first."""
    number = long_pending(facts)
    if not number:
        return []
    shown = facts.pending_longest[: min(number, _IDS_SHOWN)]
    lines = [f"- `{_escaped(row['session_id'])}`, pending for {duration(row['age_seconds'])}" for row in shown]
    if number > len(shown):
        lines.append(f"- and {number - len(shown):,} more, which `phygitals status` counts")
    return [f"{counted(number, 'session')} pending for over a day: ask Phygitals about", *lines]


def _escaped(identity: str) -> str:
    cut = "\N{HORIZONTAL ELLIPSIS}" if len(identity) > _ID_LENGTH else ""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", identity[:_ID_LENGTH]) + cut
