"""What the report says of the published tables: figures, sentences, and what is cut or left out."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import duckdb
import pytest

from pipeline.report.page import render
from pipeline.report.queries import DAYS_SHOWN
from tests.support.report_page import NOON, Page, facts_of


def test_yesterday_is_the_utc_day_before_and_its_figures_are_its_own(published):
    path = published(
        purchases="""
            SELECT 'a' AS session_id, 'fulfilled' AS status, TIMESTAMPTZ '2026-03-09 00:00:00+00' AS initiated_at,
                initiated_at AS submitted_at, 1 AS poll_count, 10 AS price_usd, 4 AS buyback_value_usd
            UNION ALL BY NAME SELECT 'b' AS session_id, 'failed' AS status,
                TIMESTAMPTZ '2026-03-09 23:59:59.999+00' AS submitted_at, 2 AS poll_count
            UNION ALL BY NAME SELECT 'c' AS session_id, 'fulfilled' AS status,
                TIMESTAMPTZ '2026-03-10 00:00:00+00' AS submitted_at, 2 AS poll_count, 20 AS price_usd,
                TIMESTAMPTZ '2026-03-10 00:00:01+00' AS last_pending_at
            UNION ALL BY NAME SELECT 'd' AS session_id, 'fulfilled' AS status,
                TIMESTAMPTZ '2026-03-02 00:00:00+00' AS submitted_at, 2 AS poll_count, 7 AS price_usd,
                7 AS buyback_value_usd
        """,
        pulls="""
            SELECT 'a' AS session_id, number AS pull_number, price AS buyback_price_usd,
                TIMESTAMPTZ '2026-03-09 10:00:00+00' AS pulled_at
            FROM (VALUES (1, 1.5), (2, 2.5), (3, NULL)) AS v(number, price)
        """,
        item_types="SELECT 'enft' AS item_type, 4 AS pull_count, 0 AS priced_pull_count",
        buyback_values="""
            SELECT DATE '2026-03-09' AS pulled_date, 'enft' AS item_type, 3 AS pull_count, 2 AS priced_pull_count,
                4 AS buyback_total_usd, 1 AS paid_pull_count, 5 AS spend_usd, 1.5 AS spend_buyback_usd
            UNION ALL BY NAME SELECT DATE '2026-03-02' AS pulled_date, 'enft' AS item_type, 1 AS pull_count,
                1 AS priced_pull_count, 1 AS paid_pull_count, 7 AS spend_usd, 7 AS spend_buyback_usd
        """,
    )
    facts = facts_of(path)
    assert facts.yesterday == date(2026, 3, 9)
    purchases, pulls = facts.purchases, facts.pulls
    assert [purchases[period]["purchases"] for period in ("yesterday", "week_before", "overall")] == [2, 1, 4]
    assert (purchases["yesterday"]["fulfilled"], purchases["yesterday"]["failed"]) == (1, 1)
    assert [facts.spend[period]["spend_usd"] for period in ("yesterday", "week_before", "overall")] == [5, 7, 12]
    assert purchases["overall"]["fulfilled_when_first_asked"] == 2
    assert pulls["yesterday"] == {
        "pulls": 3,
        "priced_pulls": 2,
        "zero_pulls": 0,
        "buyback_usd": 4,
        "median_usd": 2,
        "below_median": 1,
        "at_median": 0,
        "top_quote_usd": Decimal("2.5"),
    }
    week = pulls["week_before"]
    assert (week["pulls"], week["buyback_usd"], week["median_usd"]) == (0, None, None)
    page = Page(render(facts, "production"))
    assert "Yesterday: Mon 9 Mar 2026 2 purchases, 3 pulls quoted at $4.00 in all." in page.text
    assert "Simulated" not in page.text
    # What is divided stands beside the quotient. Only sums are per day; a return or a maximum is that of the week.
    table = page.text.replace(" ", "")
    assert "Spend$5.00$1.00aday$12.00Quotedbuybackonspend$1.50$1.00aday$8.50Returnonspend30.0%100.0%70.8%" in table
    assert page.text.count("a day") == 8  # a sum that is unknown is a dash
    assert "Toppull$2.50\N{EN DASH}$2.50" in table
    assert (
        "Excluded from spend and return: 1 quoted pull of free purchases or purchases without a price and "
        "1 pull without a quote." in page.text
    )


def pulls_quoted_at(*prices: float) -> dict[str, str]:
    """The tables of one day on which pulls were quoted at these prices."""
    listed = ", ".join(str(price) for price in prices)
    return {
        "purchases": "SELECT 's' AS session_id, 'fulfilled' AS status, 1 AS poll_count, "
        "TIMESTAMPTZ '2026-03-09 00:00:00+00' AS submitted_at, TIMESTAMPTZ '2026-03-10 02:00:00+00' AS last_polled_at",
        "pulls": "SELECT 's' AS session_id, TIMESTAMPTZ '2026-03-09 00:00:00+00' AS pulled_at, "
        f"unnest([{listed}])::DECIMAL(18,4) AS buyback_price_usd",
        "item_types": f"SELECT 'enft' AS item_type, {len(prices)} AS pull_count, 0 AS priced_pull_count",
        "buyback_values": f"""
            SELECT DATE '2026-03-09' AS pulled_date, 'enft' AS item_type, {len(prices)} AS pull_count,
                {len(prices)} AS priced_pull_count, {sum(prices)} AS buyback_total_usd,
                {max(prices)} AS buyback_max_usd, 0 AS paid_pull_count
        """,
    }


SENTENCES = {
    # Of ten pulls three are below the median of 25, and six exactly at it.
    (1, 2, 3, 25, 25, 25, 25, 25, 25, 90): (
        ["$25.00: 30 % of the quotes are below, 60 % exactly at it."],
        ["Half of the", "The mean is", "half of the pulls are below"],
    ),
    (1, 2, 3, 4): (["$2.50: 50 % of the quotes are below."], ["exactly at it", "The mean is"]),
    # Zero quotes are pulls, too: one of five holds the value, not one of one.
    (0, 0, 0, 0, 50): (
        ["Pulls quoted at $50.00 or more are 20.0 % of the quoted pulls", "The median is zero, the mean $10.00."],
        ["are 100.0 % of the quoted pulls"],
    ),
    # The bound is a quote that there is, not the end of a bin.
    (1, 1, 1, 48, 48): (["Pulls quoted at $48.00 or more are 40.0 % of the quoted pulls"], ["$46.42"]),
    (59.98, *[0.5] * 20): (
        ["The mean is 6.7 times the median", "top pull, $59.98, is 86 % of that"],
        ["Peaks are mostly"],
    ),
    tuple([2.0] * 600): (
        ["with $1,200 in 600 quoted pulls; its top pull, $2.00, is 0 % of that"],
        ["Peaks are mostly", "The mean is"],
    ),
}


@pytest.mark.parametrize(("prices", "told"), SENTENCES.items(), ids=lambda value: str(len(value)))
def test_what_the_page_says_of_quotes_is_what_the_data_say(published, prices, told):
    text = Page(render(facts_of(published(**pulls_quoted_at(*prices))), "production")).text
    said, not_said = told
    assert [words for words in said if words not in text] == []
    assert [words for words in not_said if words in text] == []


def test_a_day_without_purchases_is_told_and_old_data_is_named_old(published):
    path = published(
        purchases="SELECT 'a' AS session_id, 'pending' AS status, TIMESTAMPTZ '2026-03-01 00:00:00+00' AS submitted_at"
        ", 0 AS poll_count"
    )
    old = Page(render(facts_of(path), "sandbox"))
    assert "No purchase of that day was submitted yet" in old.text
    assert "No request was sent since Sun 1 Mar 2026, 00:00 UTC" in old.text
    assert "Sandbox data" in old.text
    fresh = Page(render(facts_of(path, datetime(2026, 3, 2, tzinfo=UTC)), "production"))
    assert "No request was sent since" not in fresh.text


def test_after_quiet_days_without_a_pending_session_nothing_is_said_to_be_old(published):
    path = published(
        purchases="SELECT 'a' AS session_id, 'failed' AS status, TIMESTAMPTZ '2026-03-01 00:00:00+00' AS submitted_at"
        ", 1 AS poll_count"
    )
    page = Page(render(facts_of(path), "sandbox"))
    assert "from data up to Sun 1 Mar 2026" in page.text
    assert "No request was sent since" not in page.text


@pytest.mark.parametrize(
    "prices", ["1", "1, 2", "1, 2, 3", "1, 1, 1, 9", "0.0001, 5.5555, 5.5555, 7, 7.25, 100", "NULL"]
)
def test_the_median_is_the_one_of_the_marts(published, prices):
    path = published(
        pulls=f"SELECT 's' AS session_id, now() AS pulled_at, unnest([{prices}])::DECIMAL(18,4) AS buyback_price_usd"
    )
    with duckdb.connect(path) as connection:
        ((expected,),) = connection.execute(
            "SELECT median(buyback_price_usd::DECIMAL(18,6))::DECIMAL(18,4) FROM pulls"
        ).fetchall()
    found = facts_of(path).pulls["overall"]["median_usd"]
    assert found == pytest.approx(expected) if expected is not None else found is None


def test_pending_sessions_are_told_by_age_with_those_that_wait_longest(published):
    path = published(
        purchases=f"""
            SELECT 's' || i AS session_id, 'pending' AS status, 0 AS poll_count,
                TIMESTAMPTZ '{NOON.isoformat()}' - to_days(i::INTEGER * 100) AS submitted_at
            FROM range(12) AS r(i)
        """,
        pending_ageing="""
            SELECT 'over 24 hours' AS age_band, 86400 AS age_from_seconds, 11 AS session_count,
                9 AS priced_session_count, 18.5 AS price_usd
            UNION ALL BY NAME SELECT 'under 1 minute' AS age_band, 0 AS age_from_seconds, 1 AS session_count,
                0 AS priced_session_count
        """,
    )
    facts = facts_of(path)
    assert [row["age_band"] for row in facts.pending_ageing] == ["under 1 minute", "over 24 hours"]
    assert [row["session_id"] for row in facts.pending_longest] == [f"s{i}" for i in range(11, 1, -1)]
    page = Page(render(facts, "production"))
    assert "12 sessions are pending, $18.50 of purchases (3 without a price)." in page.text
    assert "1100 days" in page.text


def test_a_date_in_the_future_does_not_push_the_present_out(published):
    path = published(
        buyback_values="""
            SELECT day AS pulled_date, 'enft' AS item_type, 1 AS pull_count, 1 AS priced_pull_count
            FROM (VALUES (DATE '2026-03-09'), (DATE '2026-01-01'), (DATE '2199-01-01')) AS v(day)
        """
    )
    assert [row["pulled_date"] for row in facts_of(path).days] == [date(2026, 3, 9)]


def test_rates_of_failure_leave_out_days_that_are_not_settled(published):
    path = published(
        purchases="SELECT 'a' AS session_id, 'failed' AS status, now() AS submitted_at, 1 AS poll_count",
        resolution_funnel="""
            SELECT day::DATE AS submitted_date, 1 AS submitted, 1 AS failed, 0 AS fulfilled, 0 AS pending, 0 AS expired,
                1.0 AS failed_rate, 0.2 AS failed_rate_low, 1.0 AS failed_rate_high,
                day < DATE '2026-03-09' AS is_mature
            FROM generate_series(DATE '2026-01-01', DATE '2026-03-10', INTERVAL 1 DAY) AS g(day)
        """,
    )
    facts = facts_of(path)
    assert len(facts.funnel) == DAYS_SHOWN
    assert f"n = {DAYS_SHOWN - 2} final sessions" in Page(render(facts, "production")).text


def test_many_types_and_packs_are_cut_and_the_rest_is_counted(published):
    path = published(
        purchases="SELECT 'a' AS session_id, 'failed' AS status, now() AS submitted_at, 1 AS poll_count",
        item_types="""
            SELECT 'type ' || i AS item_type, 100 - i AS pull_count, 0 AS priced_pull_count FROM range(30) AS r(i)
        """,
        buyback_values="""
            SELECT DATE '2026-03-09' AS pulled_date, item_type, pull_count, 0 AS priced_pull_count
            FROM (SELECT 'type ' || i AS item_type, 100 - i AS pull_count FROM range(30) AS r(i))
        """,
        pack_economics="""
            SELECT 'pack ' || i AS pack_id, 1000 - i AS spend_usd, 1 AS pull_count, 1 AS quoted_pull_count,
                COLUMNS('multiple_.*_count')
            FROM range(40) AS r(i), (SELECT 1 AS multiple_below_0_5_count, 0 AS multiple_0_5_to_1_count,
                0 AS multiple_1_to_2_count, 0 AS multiple_2_to_5_count, 0 AS multiple_5_to_20_count,
                0 AS multiple_20_and_above_count)
        """,
    )
    page = Page(render(facts_of(path), "production"))
    for words in ("other types", "10 more are in item_types", "25 more are in pack_economics"):
        assert words in page.text, words
    assert "pack 14" in page.text and "pack 15" not in page.text


@pytest.mark.parametrize(
    ("verdicts", "told"),
    [
        (["no significant difference"] * 2, "Of 2 tiers tested, none differ significantly from the published rate"),
        (["more often than published", "no significant difference"], "Of 2 tiers tested, 1 differs significantly"),
        (
            ["less often than published", "no pulls yet"],
            "Of 1 tier tested, 1 differs significantly from the published rate. 1 tier could not be",
        ),
        (["no pulls yet"], "No tier can be tested yet"),
    ],
)
def test_odds_are_told_with_their_verdict_of_the_latest_version_alone(published, verdicts, told):
    listed = ", ".join(f"('tier {i}', '{verdict}')" for i, verdict in enumerate(verdicts))
    path = published(
        purchases="SELECT 'a' AS session_id, 'failed' AS status, now() AS submitted_at, 1 AS poll_count",
        tier_hit_rates=f"""
            SELECT 'p' AS pack_id, DATE '2026-02-01' AS valid_from, tier, 200 AS pull_count, 3 AS hit_count,
                0.015 AS hit_rate, 0.0051 AS hit_rate_low, 0.0432 AS hit_rate_high, 0.02 AS published_share, verdict
            FROM (VALUES {listed}) AS v(tier, verdict)
            UNION ALL BY NAME SELECT 'p' AS pack_id, 'former' AS tier, 'more often than published' AS verdict
        """,
    )
    text = Page(render(facts_of(path), "production")).text
    assert told in text
    assert "former" not in text
    assert "2.00 %1.50 %0.51 % – 4.32 %" + verdicts[0] in text


@pytest.mark.parametrize(
    ("p90", "told"), [("400.0", "90 % within 6.7 min."), ("NULL", "the slowest tenth in more than 2.0 h.")]
)
def test_a_tail_that_was_not_seen_is_told_to_be_longer(published, p90, told):
    path = published(
        purchases="SELECT 'a' AS session_id, 'fulfilled' AS status, now() AS submitted_at, 1 AS poll_count"
        ", now() AS last_pending_at",
        resolution_funnel=f"""
            SELECT DATE '2026-03-09' AS submitted_date, 2 AS submitted, 1 AS failed, 1 AS fulfilled, 0 AS pending,
                0 AS expired, false AS is_mature, 30.0 AS latency_p50_seconds, {p90} AS latency_p90_seconds,
                7200.0 AS latency_followed_seconds
        """,
    )
    text = Page(render(facts_of(path), "production")).text
    assert "Of the sessions of Mon 9 Mar 2026, half were fulfilled within 30 s, " + told in text


def test_yesterday_s_signals_are_told_and_those_of_other_days_are_not(published):
    path = published(
        purchases="SELECT 'a' AS session_id, 'failed' AS status, now() AS submitted_at, 1 AS poll_count",
        daily_signals="""
            SELECT DATE '2026-03-09' AS signal_date, 'failed_rate' AS signal, '30.0 % failed: high.' AS sentence,
                true AS is_unusual
            UNION ALL BY NAME SELECT DATE '2026-03-09' AS signal_date, 'purchases' AS signal,
                '12 purchases: usual.' AS sentence, false AS is_unusual
            UNION ALL BY NAME SELECT DATE '2026-03-08' AS signal_date, 'purchases' AS signal, 'former' AS sentence
        """,
    )
    text = Page(render(facts_of(path), "production")).text
    assert "Compared with the 28 days before: 12 purchases: usual. 30.0 % failed: high. unusual" in text
    assert "former" not in text


@pytest.mark.parametrize(("first_asked", "is_drawn"), [(1, True), (2, True), (3, False), (4, False)])
def test_times_that_measure_the_first_poll_are_not_drawn(published, first_asked, is_drawn):
    path = published(
        purchases=f"""
            SELECT 's' || i AS session_id, 'fulfilled' AS status, TIMESTAMPTZ '2026-03-08 12:00:00+00' AS submitted_at,
                1 AS poll_count, CASE WHEN i >= {first_asked} THEN submitted_at END AS last_pending_at
            FROM range(4) AS r(i)
        """,
        resolution_funnel="""
            SELECT DATE '2026-03-08' AS submitted_date, 4 AS submitted, 4 AS fulfilled, 0 AS failed, 0 AS pending,
                0 AS expired, true AS is_mature, 20 AS latency_p50_seconds, 40 AS latency_p90_seconds,
                60 AS latency_p99_seconds
        """,
    )
    html = render(facts_of(path), "production")
    assert ("Time to fulfilment, at most" in html) is is_drawn
    told = f"Times to fulfilment are not shown: {first_asked} of 4 fulfilled sessions were already fulfilled"
    assert (told in html) is not is_drawn


@pytest.mark.parametrize(
    ("bounds", "told"),
    [
        (
            [(0.3, 0.4), (0.1, 0.2), (0.25, 0.35)],
            "pack 0 wins significantly more often than 1 of the 2 other packs shown; the others do not differ",
        ),
        ([(0.3, 0.4), (0.1, 0.2)], "pack 0 wins significantly more often than 1 of the 1 other pack shown."),
        ([(0.1, 0.6), (0.1, 0.5)], "the pack that ranks first does not win significantly more often than any other"),
        ([(0.1, 0.6)], None),
    ],
)
def test_packs_are_compared_by_what_holds_for_all_of_them_at_once(published, bounds, told):
    listed = ", ".join(f"({i}, {low}, {high})" for i, (low, high) in enumerate(bounds))
    path = published(
        purchases="SELECT 'a' AS session_id, 'failed' AS status, now() AS submitted_at, 1 AS poll_count",
        pack_economics=f"""
            SELECT 'pack ' || i AS pack_id, 1 AS pull_count, 9 AS quoted_pull_count, 0.3 AS win_rate,
                0.2 AS win_rate_low, 0.4 AS win_rate_high, low AS win_rate_low_of_all, high AS win_rate_high_of_all,
                i + 1 AS win_rate_rank, 9 AS multiple_below_0_5_count, 0 AS multiple_0_5_to_1_count,
                0 AS multiple_1_to_2_count, 0 AS multiple_2_to_5_count, 0 AS multiple_5_to_20_count,
                0 AS multiple_20_and_above_count
            FROM (VALUES {listed}) AS v(i, low, high)
        """,
    )
    text = Page(render(facts_of(path), "production")).text
    assert told in text if told else "simultaneous intervals over all packs" not in text
