"""Which session is asked when, on a clock that tests turn by hand."""

from __future__ import annotations

import math
import random
from collections import Counter

import pyarrow as pa
import pytest

from pipeline.polling.completion_law import CompletionLaw, band
from pipeline.polling.pending import PendingSessions
from pipeline.polling.schedule import MAX_INTERVAL, Schedule

WALL = 1_800_000_000.0
DAY = 86_400.0


def pending(*rows: tuple[str, float, float | None]) -> PendingSessions:
    """Sessions as (id, seconds since it started, seconds since an earlier run asked it, if one did)."""
    columns = [
        pa.array([session_id for session_id, _, _ in rows], pa.string()),
        pa.array([WALL - age for _, age, _ in rows], pa.float64()),
        pa.array([None if asked is None else WALL - asked for _, _, asked in rows], pa.float64()),
    ]
    return PendingSessions.from_batches([pa.record_batch(columns, names=["session_id", "started_at", "asked_at"])])


def started(sessions: PendingSessions, interval: float = 2.0) -> Schedule:
    schedule = Schedule(sessions, interval, random.Random(7))
    schedule.start(0.0, WALL)
    return schedule


def test_a_session_is_asked_again_after_growing_intervals_up_to_a_minute():
    schedule = started(pending(("a", 0.0, None)))
    now, gaps = 0.0, []
    for _ in range(40):
        schedule.again(schedule.pop(now), now)
        gaps.append(schedule.next_at(now) - now)
        now = schedule.next_at(now)
    for step, gap in enumerate(gaps):
        least = min(MAX_INTERVAL, 2.0 * (step + 1))
        assert least <= gap + 1e-6
        assert gap <= min(MAX_INTERVAL, 1.25 * least) + 0.011
    assert gaps[-1] == pytest.approx(MAX_INTERVAL, abs=0.011)


def test_a_session_is_not_asked_before_the_time_the_api_names():
    schedule = started(pending(("a", 0.0, None)))
    schedule.again(schedule.pop(0.0), 10.0, at_least=300.0)
    assert schedule.next_at(10.0) == pytest.approx(310.0, abs=0.011)


def test_after_a_held_call_a_session_is_asked_again_a_second_later_and_its_interval_does_not_grow():
    schedule = started(pending(("a", 0.0, None)))
    now = 0.0
    for held, least in ((6.0, 1.0), (2.0, 1.0), (0.1, 2.0), (6.0, 1.0), (1.9, 4.0), (0.1, 6.0)):
        answered = now + held
        schedule.again(schedule.pop(now), answered, pending_after=held)
        now = schedule.next_at(answered)
        assert least <= now - answered + 1e-6
        assert now - answered <= 1.25 * least + 0.011


def test_a_call_of_less_than_a_second_is_no_held_one_however_short_the_interval():
    schedule = started(pending(("a", 0.0, None)), interval=0.1)
    schedule.again(schedule.pop(0.0), 0.9, pending_after=0.9)
    assert schedule.next_at(0.9) == pytest.approx(1.0, abs=0.04)


def test_only_an_answer_that_says_pending_makes_a_session_less_likely_to_be_final():
    for said, first in ((0.1, "young"), (None, "old")):
        schedule = started(pending(("young", 100.0, None), ("old", 300.0, None)))
        asked = [schedule.pop(0.0) for _ in range(2)]
        assert [schedule.session_id(position) for position in asked] == ["old", "young"]
        schedule.again(asked[0], 30.0, pending_after=said)
        schedule.again(asked[1], 30.0, pending_after=0.1)
        assert schedule.session_id(schedule.pop(40.0)) == first


def test_nothing_is_due_when_nothing_waits():
    schedule = started(pending(("a", 0.0, None)))
    assert len(schedule) == 1
    schedule.pop(0.0)
    assert len(schedule) == 0
    assert schedule.next_at(0.0) == math.inf


def test_of_sessions_alike_the_one_that_waited_longest_comes_first():
    schedule = started(pending(*((name, 60.0, None) for name in "abc")))
    first = schedule.pop(0.0)
    schedule.again(first, 0.0)
    order = [first, schedule.pop(0.0), schedule.pop(0.0), schedule.pop(20.0)]
    assert [schedule.session_id(position) for position in order] == ["a", "b", "c", "a"]


def ask_at_ceiling(schedule: Schedule, seconds: int, per_second: int, held: float = 0.0) -> Counter[str]:
    """Asks as often as the ceiling allows, of sessions that never become final; counts by the id's first letter."""
    asked: Counter[str] = Counter()
    for tick in range(seconds * per_second):
        now = tick / per_second
        if schedule.next_at(now) > now:
            continue
        position = schedule.pop(now)
        asked[schedule.session_id(position)[0]] += 1
        schedule.again(position, now, pending_after=held)
    return asked


def test_a_backlog_of_old_pending_sessions_does_not_starve_new_ones():
    old = [(f"old-{i}", 2 * DAY, DAY / 2) for i in range(10_000)]
    new = [(f"new-{i}", 5.0, None) for i in range(100)]
    asked = ask_at_ceiling(started(pending(*old, *new)), seconds=60, per_second=10)
    assert asked["n"] >= 100


def test_a_flood_of_new_sessions_does_not_starve_old_ones():
    old = [(f"old-{i}", 2 * DAY, DAY / 2) for i in range(100)]
    new = [(f"new-{i}", 5.0, None) for i in range(10_000)]
    asked = ask_at_ceiling(started(pending(*old, *new)), seconds=60, per_second=10)
    # There are at most four ages at a time: the old one's, and three of new ones.
    assert asked["o"] >= 600 / (15 * 4)
    assert asked["n"] >= 300


@pytest.mark.parametrize("held", [0.0, 6.0])
def test_every_age_gets_its_turns_whatever_the_others_hold(held):
    ages = [1.0, 10.0, 100.0, 1_000.0, 10_000.0, 100_000.0, 1_000_000.0]
    sessions = [(f"{letter}{i}", age, None) for letter, age in zip("abcdefg", ages, strict=True) for i in range(1_000)]
    asked = ask_at_ceiling(started(pending(*sessions)), seconds=56, per_second=10, held=held)
    # The first may grow into the second's age, and the second beyond: there are at most ten ages.
    assert all(asked[letter] >= 560 // (15 * 10) for letter in "abcdefg")


def test_a_session_never_asked_comes_before_one_that_was_pending_a_moment_ago():
    schedule = started(pending(("asked", 3_600.0, 1.0), ("never", 3_600.0, None)))
    assert schedule.session_id(schedule.pop(0.0)) == "never"


def test_of_one_age_the_likeliest_to_be_final_is_asked_first():
    ages = [300.0, 700.0, 500.0, 900.0]
    schedule = started(pending(*((f"{age:.0f}", age, 250.0) for age in ages)))
    assert [schedule.session_id(schedule.pop(0.0)) for _ in ages] == ["300", "500", "700", "900"]


def test_a_learned_law_decides_who_is_asked_first():
    rows = ("new", 120.0, None), ("ripe", 650.0, 300.0)
    late = CompletionLaw.learned([(band(600.0), band(600.0), 10_000)])
    for law, first in ((CompletionLaw.assumed(), "new"), (late, "ripe")):
        schedule = Schedule(pending(*rows), 2.0, random.Random(7), law)
        schedule.start(0.0, WALL)
        assert schedule.session_id(schedule.pop(0.0)) == first


def test_a_session_that_may_complete_while_its_call_is_held_is_asked_before_one_that_may_not():
    late = CompletionLaw.learned([(band(600.0), band(600.0), 10_000)])
    rows = ("teacher", 5_000.0, None), ("early", 100.0, 40.0), ("soon", 510.9, 0.0)
    for held, first in ((6.0, "soon"), (0.0, "early")):
        schedule = Schedule(pending(*rows), 2.0, random.Random(7), late)
        schedule.start(0.0, WALL)
        assert schedule.pop(0.0) == 0
        schedule.again(0, 0.0, pending_after=held)
        assert schedule.session_id(schedule.pop(0.0)) == first


def test_a_session_of_the_future_is_asked_like_one_of_now():
    schedule = started(pending(("a", -DAY, None)))
    assert schedule.pop(0.0) == 0
