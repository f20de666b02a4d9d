"""The ceiling, and what the pace learns from 429s, on a clock that tests turn by hand."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from pipeline.polling.pace import Pace
from tests.support.request_rates import most_in_a_second


def send_for(pace: Pace, start: float, seconds: float, lateness: random.Random | None = None) -> list[float]:
    """Sends as fast as the pace allows, and each is accepted at once; with `lateness`, timers overshoot a little."""
    now, sent = start, []
    while now < start + seconds:
        wait = pace.wait(now)
        if wait > 0:
            now += wait + (lateness.random() * 0.01 if lateness else 0.0)
            continue
        pace.sent(now)
        sent.append(now)
        pace.accepted(now)
        now += 0.0001
    return sent


@pytest.mark.parametrize("ceiling", [1, 2.5, 3, 25, 200])
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_no_second_holds_more_requests_than_the_ceiling(ceiling, seed):
    sent = send_for(Pace(ceiling), 1000.0, 10.0, random.Random(seed) if seed else None)
    assert most_in_a_second(sent) <= ceiling
    assert len(sent) >= 0.85 * int(ceiling) * 10


def test_a_ceiling_below_one_spaces_requests_out():
    sent = send_for(Pace(0.25), 0.0, 40.0)
    assert all(b - a >= 4.0 for a, b in pairwise(sent))
    assert len(sent) >= 9


def test_without_a_ceiling_nothing_waits_for_an_api_that_answers_at_once():
    pace = Pace(0)
    for i in range(20_000):
        assert pace.wait(i / 1e6) == 0
        pace.sent(i / 1e6)
        pace.accepted(i / 1e6)


def test_without_a_ceiling_few_requests_are_in_flight_until_the_first_answers_show_how_it_goes():
    pace, now = Pace(0), 0.0
    sent: list[float] = []
    while len(sent) < 2_000:
        wait = pace.wait(now)
        now += wait
        if not wait:
            pace.sent(now)
            sent.append(now)
    assert sum(at == 0.0 for at in sent) == 6
    assert 40 <= sum(at < 0.75 for at in sent) <= 50
    assert sent[-1] < 2.5


@pytest.mark.parametrize("ceiling", [50, 0])
@pytest.mark.parametrize(("retry_after", "silence"), [(7.0, 7.0), (0.0, 1.0), (None, 1.0)])
def test_a_429_silences_the_whole_run_for_as_long_as_it_asks(ceiling, retry_after, silence):
    pace = Pace(ceiling)
    for _ in range(3):
        pace.sent(9.9)
    pace.refused(9.9, 10.0, retry_after)
    assert pace.wait(10.0) == pytest.approx(silence)
    assert pace.wait(10.01 + silence) == 0


def test_a_429_silences_nobody_when_a_request_that_was_sent_later_is_accepted():
    pace = Pace(50)
    for at in (9.7, 9.8, 9.9):
        pace.sent(at)
    pace.refused(9.8, 10.0, 60.0)
    pace.accepted(9.7)
    assert pace.wait(10.01) > 59
    pace.accepted(9.9)
    assert pace.wait(10.02) == 0


def test_429s_that_outweigh_what_is_accepted_silence_the_run_whatever_was_sent_later():
    pace = Pace(50)
    for i in range(10):
        pace.sent(9 + i / 10)
    for i in range(0, 8, 2):
        pace.refused(9 + i / 10, 10.0, 60.0)
        pace.accepted(9.1 + i / 10)
    pace.refused(9.8, 10.0, 60.0)
    pace.accepted(9.9)
    assert pace.wait(10.01) > 59


def test_refusals_that_agree_with_no_estimate_make_the_run_forget_it():
    pace = Pace(200)
    sent = send_for(pace, 0.0, 5.0)
    for at in sent[-6:]:
        pace.sent(at + 0.001)
        pace.refused(at + 0.001, 5.0, None)
    held = len(send_for(pace, 6.1, 5.0))
    lone = send_for(pace, 11.1, 0.1)[-1]
    pace.wait(12.0)
    pace.sent(12.0)
    pace.refused(12.0, 12.01, None)
    assert lone
    assert pace.wait(12.02) > 0.9
    assert len(send_for(pace, 14.0, 5.0)) > held
