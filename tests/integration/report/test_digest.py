"""The text of the daily digest: what it says, and that nothing received in it is markup, a mention or a link."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.report.digest import digest
from tests.support.report_page import facts_of

REPORT = Path("/data/report.html")


def pending(*ids: str, submitted: str = "2026-03-07 12:00:00") -> str:
    rows = ", ".join(f"('{identity}')" for identity in ids)
    return (
        f"SELECT session_id, 'pending' AS status, TIMESTAMPTZ '{submitted}+00' AS submitted_at, 1 AS poll_count "
        f"FROM (VALUES {rows}) AS v(session_id)"
    )


def told(path: Path) -> list[str]:
    return digest(facts_of(path), "production", "mill", REPORT).splitlines()


def test_the_digest_tells_status_comparison_and_report(published):
    days = ["2026-03-09", "2026-03-09", *["2026-03-05"] * 7]
    purchases = " UNION ALL BY NAME ".join(
        f"SELECT '{i}' AS session_id, 'failed' AS status, TIMESTAMPTZ '{day} 10:00:00+00' AS submitted_at, "
        "1 AS poll_count"
        for i, day in enumerate(days)
    )
    lines = told(published(purchases=purchases))
    assert lines[0] == "Phygitals production on mill: none pending; no answer yet; yesterday is not judged yet."
    assert lines[1:3] == [
        "Yesterday, Mon 9 Mar 2026, and the 7 days before:",
        "- Purchases: 2, before 1.0 a day",
    ]
    assert lines[-1] == "Report: /data/report.html"
    assert not [line for line in lines if "Unusual" in line or "ask Phygitals" in line]


def test_unusual_signals_are_told_in_their_words_and_others_are_not(published):
    signals = " UNION ALL BY NAME ".join(
        f"SELECT DATE '2026-03-09' AS signal_date, '{name}' AS signal, 4.0::DOUBLE AS z, {is_unusual} AS is_unusual, "
        f"true AS is_telling, '{name} in words' AS sentence"
        for name, is_unusual in (("purchases", True), ("win_rate", False))
    )
    lines = told(published(purchases=pending("a"), daily_signals=signals))
    assert lines[lines.index("Unusual yesterday:") + 1] == "- purchases in words"
    assert "win_rate in words" not in "".join(lines)


def test_sessions_that_need_a_person_are_named_and_counted(published):
    young = pending("young", submitted="2026-03-10 11:00:00")
    lines = told(published(purchases=f"{pending(*'abcdefg')} UNION ALL BY NAME {young}"))
    first = lines.index("7 sessions pending for over a day: ask Phygitals about")
    assert lines[first + 1] == "- `a`, pending for 3.0 days"
    assert lines[first + 6] == "- and 2 more, which `phygitals status` counts"
    assert "young" not in "".join(lines)
    assert not [line for line in told(published(purchases=young)) if "ask Phygitals" in line]


@pytest.mark.parametrize(
    "identity", ["<!channel>", "@everyone", "`@here`", "https://evil.example/x", "*b*[l](http://e)", "\u202eab", "&lt;"]
)
def test_a_received_id_is_neither_markup_nor_mention_nor_link(published, identity):
    lines = told(published(purchases=pending(identity)))
    (line,) = [line for line in lines if line.endswith("pending for 3.0 days") and line.startswith("- `")]
    shown = line.removeprefix("- `").removesuffix("`, pending for 3.0 days")
    assert set(shown).isdisjoint("<>@`:/*[]()&.\u202e")
    assert shown.encode().decode("unicode_escape") == identity


def test_a_long_id_is_cut(published):
    assert [line for line in told(published(purchases=pending("a" * 65))) if f"`{'a' * 64}\u2026`" in line]
