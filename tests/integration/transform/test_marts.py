"""The marts' own figures: ages, windows, ranks, changes of quotes, and what a figure rests on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from benchmarks import coverage
from benchmarks.tables import FIRST_DAY, add_day
from pipeline import steps
from pipeline.clock import now
from pipeline.publish.warehouse import publish
from pipeline.schema import PUBLISHED, TABLES
from pipeline.simulator.server import FAILED, PENDING, Reply, Simulator
from pipeline.steps import Workspace
from pipeline.transform.builder import Builder
from pipeline.transform.queries import macros, query, time_macros
from tests.support.answers import answer
from tests.support.lake import lake_hashes
from tests.support.workspace import drop, records, refresh, rows

pytestmark = pytest.mark.one_python


def impatient() -> Workspace:
    """The workspace, with a budget that lets each session be asked once."""
    opened = Workspace.open()
    return Workspace(opened.settings.model_copy(update={"poll_interval": 5.0, "poll_budget": 0.5}), opened.data)


def quoted(item_id: str, price: float | None, **more: object) -> dict:
    return {"id": item_id, "buyback_price": price, **more}


def with_answers(api, submissions: str, **items: list[dict]) -> Workspace:
    """A workspace whose sessions were answered with these items, submitted as CSV."""
    api(Simulator(hold=0, scripts={s: [Reply(200, answer(s, nfts))] for s, nfts in items.items()}))
    workspace = Workspace.open()
    drop(workspace, "x.csv", submissions)
    refresh(workspace)
    return workspace


@pytest.fixture
def waiting(api, monkeypatch):
    """Sessions that stay pending, submitted 30 hours, 2 hours, half an hour, 5 minutes and a moment ago."""
    ages = {"30h": 108_000, "2h": 7_200, "30m": 1_800, "5m": 300, "fresh": 0}
    api(Simulator(hold=0, scripts={name: [PENDING] for name in (*ages, "5m-more")} | {"lost": [FAILED]}))
    workspace = impatient()
    for name, age in ages.items():
        monkeypatch.setattr(steps, "now", lambda age=age: now() - timedelta(seconds=age))
        more = "5m-more,\nlost,99\n" if name == "5m" else ""
        drop(workspace, f"{name}.csv", f"session_id,price_usd\n{name},{age}\n{more}")
        workspace.take_in()
    monkeypatch.undo()
    return workspace


def test_pending_sessions_are_counted_by_age_with_the_oldest_named(waiting):
    refresh(waiting)
    found = rows(
        waiting,
        "SELECT age_band, session_count, priced_session_count, price_usd, oldest_session_ids, "
        "oldest_submitted_at IS NOT NULL FROM pending_ageing ORDER BY age_from_seconds",
    )
    assert found == [
        ("under 1 minute", 1, 1, Decimal(0), ["fresh"], True),
        ("1 to 10 minutes", 2, 1, Decimal(300), ["5m", "5m-more"], True),
        ("10 to 60 minutes", 1, 1, Decimal(1800), ["30m"], True),
        ("1 to 24 hours", 1, 1, Decimal(7200), ["2h"], True),
        ("over 24 hours", 1, 1, Decimal(108_000), ["30h"], True),
    ]


def test_ages_are_counted_to_the_latest_in_the_data_so_that_the_tables_do_not_depend_on_when_they_are_made(waiting):
    refresh(waiting)
    before = lake_hashes(waiting)
    assert rows(waiting, "SELECT DISTINCT as_of FROM pending_ageing") == rows(
        waiting, "SELECT max(greatest(submitted_at, last_polled_at, resolved_at)) FROM purchases"
    )
    with (
        waiting.data.exclusive(),
        Builder(waiting.data, now() + timedelta(days=3), waiting.settings.expire_after) as later,
    ):
        later.forget_all()
        for table in PUBLISHED:
            later.build(table)
    assert lake_hashes(waiting) == before


def test_a_day_s_rates_are_mature_a_day_after_it_ended_and_without_a_final_answer_there_is_none(waiting, monkeypatch):
    monkeypatch.setattr(steps, "now", lambda: now() - timedelta(days=3))
    drop(waiting, "old.txt", "lost")
    waiting.take_in()
    monkeypatch.undo()
    refresh(waiting)
    found = records(waiting, "FROM resolution_funnel ORDER BY submitted_date")
    assert [day["is_mature"] for day in found[:1] + found[-1:]] == [True, False]
    unresolved = [day for day in found if day["fulfilled"] + day["failed"] == 0]
    assert unresolved
    for day in unresolved:
        assert (day["failed_rate"], day["failed_rate_low"], day["failed_rate_high"]) == (None, None, None)


def test_latencies_are_percentiles_of_the_time_from_initiation_or_else_submission_to_the_fulfilled_answer(api):
    ages = [3.5, 60, 611.25, 7_200, 86_400]
    begun = [f"s{i},{(now() - timedelta(seconds=age)).isoformat()}\n" for i, age in enumerate(ages)]
    submissions = "".join(["session_id,initiated_at\n", *begun, "not-said,\n", f"lost,{now().isoformat()}\n"])
    fulfilled = [*(f"s{i}" for i in range(len(ages))), "not-said"]
    scripts = {session: [Reply(200, answer(session, [quoted("i", 1)]))] for session in fulfilled}
    api(Simulator(hold=0, scripts=scripts | {"lost": [FAILED]}))
    workspace = Workspace.open()
    drop(workspace, "x.csv", submissions)
    refresh(workspace)
    times = rows(
        workspace, "SELECT resolved_at, coalesce(initiated_at, submitted_at) FROM purchases WHERE status = 'fulfilled'"
    )
    assert len(times) == len(fulfilled)
    seconds = [(resolved - begun).total_seconds() for resolved, begun in times]
    (found,) = rows(workspace, "SELECT COLUMNS('latency_p.*_seconds') FROM resolution_funnel")
    # The first time by which so many are fulfilled; sessions that failed take no part.
    assert found == pytest.approx(np.quantile(seconds, [0.5, 0.9, 0.99], method="inverted_cdf"), abs=1e-6)
    first_asked = "SELECT fulfilled_when_first_asked, failed_rate_at_least, failed_rate_at_most FROM resolution_funnel"
    assert rows(workspace, first_asked) == [(len(fulfilled), 1 / 7, 1 / 7)]


def incidence(seconds: np.ndarray, status: np.ndarray, share: float) -> float | None:
    """A percentile by Aalen and Johansen, session by session in the order of their times."""
    surviving, fulfilled_by, failed_by = 1.0, [], 0.0
    for time in np.unique(seconds):
        at_risk = (seconds >= time).sum()
        fulfilled = ((seconds == time) & (status == "fulfilled")).sum()
        failed = ((seconds == time) & (status == "failed")).sum()
        fulfilled_by.append((time, surviving * fulfilled / at_risk))
        failed_by += surviving * failed / at_risk
        surviving *= 1 - (fulfilled + failed) / at_risk
    total = 0.0
    for time, more in fulfilled_by:
        total += more
        if total > 0 and total >= share * (1 - failed_by) - 1e-12:
            return float(time)
    return None


LIVES = {
    "all settled": (0.0, 0.1, 400),
    "half pending": (0.5, 0.1, 400),
    "nearly all pending": (0.97, 0.0, 400),
    "most fail": (0.2, 0.9, 300),
    "one session": (0.0, 0.0, 1),
    "one pending session": (1.0, 0.0, 1),
    "all fail": (0.0, 1.0, 20),
}


@pytest.mark.parametrize("name", LIVES)
def test_percentiles_of_latency_count_pending_sessions_as_longer_and_failures_apart(name):
    pending_share, failed_share, count = LIVES[name]
    rng = np.random.default_rng(8)
    seconds = np.ceil(rng.lognormal(3, 2, count))  # whole, so that many are equal
    fate = np.where(rng.random(count) < failed_share, "failed", "fulfilled")
    status = np.where(rng.random(count) < pending_share, "pending", fate)
    with duckdb.connect() as connection:
        connection.execute(macros() + time_macros(datetime.now(UTC), 0))
        connection.register("lives", pa.table({"age": seconds, "status": status}))
        columns = ", ".join(f'"{c.name}" {c.type}' for c in TABLES["purchases"].columns)
        connection.execute(f"CREATE TABLE purchases ({columns})")
        connection.execute(
            """
            INSERT INTO purchases BY NAME SELECT age::VARCHAR AS session_id, status,
                TIMESTAMPTZ '2026-01-01 00:00:00+00' AS submitted_at, submitted_at + to_seconds(age) AS last_polled_at,
                CASE WHEN status <> 'pending' THEN last_polled_at END AS resolved_at FROM lives;
            INSERT INTO purchases BY NAME SELECT 'never-asked' AS session_id, 'pending' AS status,
                TIMESTAMPTZ '2026-01-01 00:00:00+00' AS submitted_at
            """
        )
        connection.execute(f"CREATE TABLE submission_days AS {query(TABLES['submission_days'])}")
        day = connection.execute(
            "SELECT latency_p50_seconds, latency_p90_seconds, latency_p99_seconds, latency_followed_seconds, fulfilled "
            "FROM submission_days"
        ).fetchone()
        mature = connection.execute(f"SELECT is_mature FROM ({query(TABLES['resolution_funnel'])})").fetchone()
    assert day is not None
    assert day[:3] == tuple(incidence(seconds, status, share) for share in (0.5, 0.9, 0.99))
    assert day[3] == seconds.max()
    assert mature == (False,)
    if name == "half pending":
        assert None in day[:3]


@pytest.mark.parametrize(("pending", "is_mature"), [(1, True), (2, False)])
def test_a_day_of_which_more_than_one_in_a_hundred_is_pending_is_not_mature(pending, is_mature):
    with duckdb.connect() as connection:
        connection.execute(macros())
        columns = ", ".join(f'"{c.name}" {c.type}' for c in TABLES["submission_days"].columns)
        connection.execute(f"CREATE TABLE submission_days ({columns})")
        connection.execute(
            "INSERT INTO submission_days BY NAME SELECT DATE '2026-01-01' AS submitted_date, 100 AS submitted, "
            f"{pending} AS pending, 90 - {pending} AS fulfilled, 7 AS failed, 3 AS expired, 97 AS buyers, "
            "TIMESTAMPTZ '2026-01-05 00:00:00+00' AS latest_at"
        )
        bounds = "SELECT is_mature, failed_rate_at_least, failed_rate_at_most FROM"
        found = connection.execute(f"{bounds} ({query(TABLES['resolution_funnel'])})").fetchone()
    assert found == (is_mature, 0.07, (10 + pending) / 100)


def with_history(configure, folder, sessions_by_day: dict[int, int]) -> Workspace:
    """A workspace with generated days, counted from the first, each of so many fulfilled sessions."""
    configure(data_dir=folder)
    workspace = Workspace.open()
    for day, sessions in sessions_by_day.items():
        add_day(workspace.data, day, sessions)
    with workspace.data.exclusive(), Builder(workspace.data, FIRST_DAY + timedelta(days=40), 0) as builder:
        builder.build_published()
        publish(workspace.data)
    return workspace


def test_what_is_outstanding_is_summed_for_windows_back_from_the_latest_in_the_data(tmp_path, configure):
    workspace = with_history(configure, tmp_path / "history", {0: 20, 24: 20, 29: 20})
    found = rows(
        workspace,
        "SELECT window_days, session_count, pull_count = priced_pull_count FROM buyback_outstanding ORDER BY 1",
    )
    assert found == [(1, 20, True), (3, 20, True), (7, 40, True), (30, 60, True)]
    (all_of_it,) = records(workspace, "FROM buyback_outstanding WHERE window_days = 30")
    expected = rows(
        workspace,
        "SELECT count(*), sum(buyback_price_usd), "
        "list_sum(list(buyback_price_usd ORDER BY buyback_price_usd DESC)[:10]) / sum(buyback_price_usd) FROM pulls",
    )
    got = (all_of_it["pull_count"], all_of_it["buyback_total_usd"], all_of_it["top_10_share"])
    assert [got] == [(*expected[0][:2], pytest.approx(expected[0][2]))]


def test_the_daily_top_pulls_are_ranked_with_their_share_and_multiple(api):
    workspace = with_answers(
        api,
        "session_id,pack_id,price_usd,initiated_at\na,p,20,2026-01-02\nb,,,2026-01-01\n",
        a=[quoted("i", 30, type="enft", content={"metadata": {"name": "Card"}}), quoted("j", 10)],
        b=[quoted("k", 10), quoted("l", None)],
    )
    found = rows(
        workspace,
        "SELECT pull_rank, session_id, pull_number, item_id, name, buyback_price_usd, total_share, multiple "
        "FROM top_pulls ORDER BY pull_rank",
    )
    assert found == [
        (1, "a", 1, "i", "Card", Decimal(30), 0.6, 3.0),
        (2, "b", 1, "k", None, Decimal(10), 0.2, None),
        (3, "a", 2, "j", None, Decimal(10), 0.2, 1.0),
    ]


def test_no_more_than_a_hundred_pulls_are_ranked(api):
    workspace = with_answers(api, "session_id\na\n", a=[quoted(str(i), i) for i in range(130)])
    assert rows(workspace, "SELECT count(*), min(buyback_price_usd) FROM top_pulls") == [(100, Decimal(30))]


def test_of_equal_quotes_the_earlier_pulls_are_ranked(api):
    workspace = with_answers(
        api,
        "session_id,initiated_at\nb,2026-01-01\na,2026-01-02\n",
        a=[quoted(f"a{i}", 7) for i in range(60)],
        b=[quoted(f"b{i}", 7) for i in range(60)],
    )
    expected = [(session, number) for session, last in (("b", 60), ("a", 40)) for number in range(1, last + 1)]
    assert rows(workspace, "SELECT session_id, pull_number FROM top_pulls ORDER BY pull_rank") == expected


def test_the_daily_top_pulls_of_several_days_are_ranked_together(tmp_path, configure):
    workspace = with_history(configure, tmp_path / "history", dict.fromkeys(range(3), 150))
    ranked = "buyback_price_usd DESC NULLS LAST, pulled_at, session_id, pull_number"
    expected = rows(
        workspace, f"SELECT session_id, pull_number, buyback_price_usd FROM pulls ORDER BY {ranked} LIMIT 100"
    )
    assert len({session.split("-")[0] for session, *_ in expected}) == 3  # of each day some
    assert expected == rows(
        workspace, "SELECT session_id, pull_number, buyback_price_usd FROM top_pulls ORDER BY pull_rank"
    )


def test_the_mix_of_types_is_a_share_of_its_day(api):
    workspace = with_answers(
        api,
        "session_id,initiated_at\na,2026-01-01\nb,2026-01-02\n",
        a=[quoted("i", 3, type="enft", mint_address="i"), quoted("j", 1, type="ebay"), quoted("k", None)],
        b=[quoted("l", None, type="ebay")],
    )
    found = rows(
        workspace,
        "SELECT pulled_date::VARCHAR, item_type, pull_count, pull_share, buyback_total_usd, buyback_share, "
        "off_chain_share FROM daily_type_mix ORDER BY ALL",
    )
    assert found == [
        ("2026-01-01", "ebay", 1, pytest.approx(1 / 3), Decimal(1), 0.25, 1.0),
        ("2026-01-01", "enft", 1, pytest.approx(1 / 3), Decimal(3), 0.75, 0.0),
        ("2026-01-01", "unknown", 1, pytest.approx(1 / 3), None, None, 1.0),
        ("2026-01-02", "ebay", 1, 1.0, None, None, 1.0),
    ]


def test_an_item_that_is_pulled_again_shows_how_its_quote_changed(api):
    days = {"a": "01", "b": "03", "c": "07", "d": "08"}
    workspace = with_answers(
        api,
        "session_id,initiated_at\n" + "".join(f"{s},2026-01-{day}\n" for s, day in days.items()),
        a=[quoted("often", 10, type="enft"), quoted("once", 5), quoted("free", 0)],
        b=[quoted("often", 20), quoted("free", 4)],
        c=[quoted("often", 15), quoted("half", None), quoted("", 3)],
        d=[quoted("often", None, type="ebay"), quoted("half", 7), quoted("", 3)],
    )
    found = records(workspace, "FROM repulled_items ORDER BY item_id")
    assert [item["item_id"] for item in found] == ["free", "half", "often"]
    free, half, often = found
    assert (often["pull_count"], often["item_type"], often["mean_days_between_pulls"]) == (
        4,
        "ebay",
        pytest.approx(7 / 3),
    )
    quotes = [often[f"{which}_buyback_price_usd"] for which in ("first", "previous", "latest")]
    assert quotes == [Decimal(10), Decimal(20), Decimal(15)]
    assert (often["change_usd"], often["change_ratio"], often["change_since_first_ratio"]) == (Decimal(-5), -0.25, 0.5)
    assert (half["latest_buyback_price_usd"], half["previous_buyback_price_usd"]) == (Decimal(7), None)
    assert (half["change_usd"], half["change_ratio"], half["change_since_first_ratio"]) == (None, None, None)
    assert (free["change_usd"], free["change_ratio"]) == (Decimal(4), None)
    # What halves and doubles again has not changed, by the logarithm.
    assert (often["change_log"], often["change_since_first_log"]) == pytest.approx((np.log(0.75), np.log(1.5)))
    assert (free["change_log"], half["change_log"], half["change_since_first_log"]) == (None, None, None)


def test_a_raw_mean_says_how_few_pulls_make_half_of_it(api):
    items = [quoted(str(i), price, type="alt") for i, price in enumerate((60, 25, 10, 10, 10, 5, None))]
    workspace = with_answers(
        api, "session_id,pack_id,price_usd\na,p,70\nb,q,1\n", a=items, b=[quoted("z", 0, type="ebay")]
    )
    half = "SELECT half_of_total_pull_count FROM"
    assert rows(workspace, f"{half} item_types ORDER BY item_type") == [(1,), (None,)]
    assert rows(workspace, f"{half} pack_economics ORDER BY pack_id") == [(1,), (None,)]
    assert rows(workspace, "SELECT quoted_pull_count, pull_count FROM pack_economics WHERE pack_id = 'p'") == [(6, 7)]


def test_half_of_a_total_that_is_spread_evenly_takes_half_of_the_pulls(api):
    workspace = with_answers(api, "session_id\na\n", a=[quoted(str(i), 7) for i in range(10)])
    assert rows(workspace, "SELECT half_of_total_pull_count FROM item_types") == [(5,)]


@pytest.mark.parametrize(("sessions", "median", "mean"), [(29, 0, 0), (30, 1, 0), (99, 1, 0), (100, 1, 1)])
def test_intervals_are_given_from_thirty_and_from_a_hundred_sessions_on(sessions, median, mean):
    rng = np.random.default_rng(1)
    mix = coverage.Mix(coverage.population(rng)[:10_000], {1: 1.0})
    found = coverage.intervals(coverage.drawn(rng, mix, sessions, 1))
    for name, is_given in (("median", median), ("mean, capped at 5", mean)):
        _, low, high = coverage.INTERVALS[name]
        bounds = [bool(np.ma.getmaskarray(found[bound])[0]) for bound in (low, high)]
        assert bounds == [not is_given] * 2, name
        if is_given:
            assert found[low][0] < found[high][0]
