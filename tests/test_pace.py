"""The ceiling and the slowing at 429, on a clock that tests turn by hand."""

from __future__ import annotations

import random

import pytest

from pipeline.polling.pace import Pace


def send_for(pace: Pace, start: float, seconds: float, lateness: random.Random | None = None) -> list[float]:
    """Sends as fast as the pace allows; with `lateness`, the timer that waits overshoots a little."""
    now, sent = start, []
    while now < start + seconds:
        wait = pace.wait(now)
        if wait > 0:
            now += wait + (lateness.random() * 0.01 if lateness else 0.0)
            continue
        pace.sent(now)
        sent.append(now)
        now += 0.0001
    return sent


def most_in_a_second(sent: list[float]) -> int:
    return max(sum(t <= u < t + 1.0 for u in sent) for t in sent)


@pytest.mark.parametrize("ceiling", [1, 2.5, 3, 25, 200])
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_no_second_holds_more_requests_than_the_ceiling(ceiling, seed):
    sent = send_for(Pace(ceiling), 1000.0, 10.0, random.Random(seed) if seed else None)
    assert most_in_a_second(sent) <= ceiling
    assert len(sent) >= 0.85 * int(ceiling) * 10


def test_a_ceiling_below_one_spaces_requests_out():
    sent = send_for(Pace(0.25), 0.0, 40.0)
    assert all(b - a >= 4.0 for a, b in zip(sent, sent[1:], strict=False))
    assert len(sent) >= 9


def test_without_a_ceiling_nothing_waits():
    pace = Pace(0)
    for i in range(1000):
        assert pace.wait(i / 1e6) == 0
        pace.sent(i / 1e6)


def test_a_429_silences_the_whole_run_for_as_long_as_it_asks():
    pace = Pace(50)
    pace.too_many(asked_at=9.9, now=10.0, retry_after=7.0)
    assert pace.wait(10.0) == pytest.approx(7.0)
    assert pace.wait(17.01) == 0


@pytest.mark.parametrize("ceiling", [100, 0])
def test_after_a_429_the_run_is_slower_and_finds_its_way_back(ceiling):
    pace = Pace(ceiling)
    before = len(send_for(pace, 0.0, 1.0))
    pace.too_many(asked_at=0.5, now=1.0, retry_after=0.0)
    right_after = len(send_for(pace, 1.0, 1.0))
    later = len(send_for(pace, 60.0, 1.0))
    assert right_after < 0.75 * before
    assert later > right_after


def test_requests_under_way_when_the_run_slowed_do_not_slow_it_again():
    once, thrice = Pace(100), Pace(100)
    once.too_many(asked_at=0.9, now=1.0, retry_after=0.0)
    for _ in range(3):
        thrice.too_many(asked_at=0.9, now=1.0, retry_after=0.0)
    assert len(send_for(once, 1.0, 5.0)) == len(send_for(thrice, 1.0, 5.0))
