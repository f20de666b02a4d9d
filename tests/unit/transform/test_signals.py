"""Whether a day is unusual, and how packs compare, beside numpy and scipy."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from pipeline.schema import TABLES
from pipeline.transform.queries import macros, query
from tests.support.intervals import clustered_wilson

pytestmark = pytest.mark.one_python

DAYS = 60
FLAT = np.full(DAYS, 100)


def signals(submitted: np.ndarray, failed: np.ndarray, pulls: pa.Table | None = None) -> list[dict]:
    """The table of so many settled purchases a day, of which so many failed, and of pulls for $10 by day and quote."""
    with duckdb.connect() as connection:
        connection.execute(macros())
        for name in ("submission_days", "daily_quote_counts"):
            columns = ", ".join(f'"{c.name}" {c.type}' for c in TABLES[name].columns)
            connection.execute(f"CREATE TABLE {name} ({columns})")
        days = pa.table({"day": np.arange(len(submitted)), "submitted": submitted, "failed": failed})
        connection.register("days", days)
        connection.execute(
            """
            INSERT INTO submission_days BY NAME SELECT DATE '2026-01-01' + day::INTEGER AS submitted_date, submitted,
                failed, submitted - failed AS fulfilled,
                DATE '2026-01-01' + (SELECT max(day) + 1 FROM days)::INTEGER AS latest_at FROM days
            """
        )
        if pulls is not None:
            connection.register("pulls_of_days", pulls)
            connection.execute(
                """
                INSERT INTO daily_quote_counts BY NAME
                SELECT DATE '2026-01-01' + day::INTEGER AS pulled_date, 'p' AS pack_id,
                    10 AS session_price_usd, 1 AS pulls_a_session, quote AS buyback_price_usd, count(*) AS pull_count
                FROM pulls_of_days GROUP BY day, quote
                """
            )
        found = connection.execute(query(TABLES["daily_signals"]))
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


@pytest.mark.parametrize("extra", [0.0, 0.5])
def test_each_figure_is_set_beside_the_days_before_as_numpy_does(extra):
    rng = np.random.default_rng(31)
    submitted = rng.poisson(300 * np.exp(extra * rng.normal(size=DAYS)), DAYS) + 1
    failed = rng.binomial(submitted, np.clip(0.05 * np.exp(extra * rng.normal(size=DAYS)), 0, 1))
    counts = rng.integers(50, 200, DAYS)
    days = np.repeat(np.arange(DAYS), counts)
    quotes = np.round(rng.lognormal(2 + extra * rng.normal(size=DAYS)[days], 1), 2)
    found = signals(submitted, failed, pa.table({"day": days, "quote": quotes}))
    assert len(found) == 4 * DAYS
    logs = np.bincount(days, np.log(quotes))
    squares = np.bincount(days, np.log(quotes) ** 2)
    wins = np.bincount(days, quotes >= 10)
    by_signal = {
        "purchases": (submitted, np.ones(DAYS)),
        "failed_rate": (failed, submitted),
        "win_rate": (wins, counts),
        "quoted_value": (logs, counts),
    }
    seen_unusual = 0
    for row in found:
        day = row["signal_date"].toordinal() - found[0]["signal_date"].toordinal()
        total, n = (np.asarray(values, float) for values in by_signal[row["signal"]])
        assert row["former_day_count"] == min(28, day)
        value = total[day] / n[day]
        assert row["value"] == pytest.approx(np.exp(value) if row["signal"] == "quoted_value" else value)
        if day < 14:
            assert (row["z"], row["usual"], row["is_unusual"]) == (None, None, False)
            assert f"only {day} of the 28 days before have data" in row["sentence"]
            continue
        window = slice(max(0, day - 28), day)
        k, m = total[window].sum(), n[window].sum()
        if row["signal"] == "quoted_value":
            variance = (squares[window].sum() - (total[window] ** 2 / n[window]).sum()) / (m - len(n[window]))
        else:
            variance = k / m if row["signal"] == "purchases" else k / m * (1 - k / m)
        each = (total[window] / n[window] - k / m) / np.sqrt(variance / n[window])
        spread = max(1, np.sqrt((each**2).sum() / (len(each) - 1)))
        error = np.sqrt(variance * (1 / n[day] + 1 / m)) * spread
        assert row["day_spread"] == pytest.approx(spread, rel=1e-6)
        assert row["z"] == pytest.approx((value - k / m) / error, rel=1e-6, abs=1e-6)
        assert row["is_unusual"] == (abs(row["z"]) > 3)
        assert ("unusually" in row["sentence"]) == row["is_unusual"]
        seen_unusual += row["is_unusual"]
    assert seen_unusual <= 6


def of_last_day(found: list[dict], signal: str) -> dict:
    return [row for row in found if row["signal"] == signal][-1]


def test_a_day_on_which_much_more_fails_is_told_and_one_of_few_sessions_is_said_to_tell_nothing():
    failed = np.random.default_rng(2).binomial(FLAT, 0.04)
    failed[-1] = 30
    told = of_last_day(signals(FLAT, failed), "failed_rate")
    assert told["is_unusual"]
    assert told["sentence"].startswith(
        "30.0 % of the final purchases failed: unusually high; the usual range is 0.0 % to "
    )
    few = np.where(np.arange(DAYS) == DAYS - 1, 5, FLAT)
    small = of_last_day(signals(few, np.minimum(failed, few) * (few > 5)), "failed_rate")
    assert (small["is_unusual"], small["is_telling"]) == (False, False)
    assert "too little data on the day" in small["sentence"]


def test_where_nothing_ever_failed_a_day_of_failures_is_unusual():
    failed = np.zeros(DAYS, int)
    failed[-1] = 20
    assert of_last_day(signals(FLAT, failed), "failed_rate")["is_unusual"]
    assert not of_last_day(signals(FLAT, failed * 0), "failed_rate")["is_unusual"]


def test_quotes_that_never_differ_and_days_without_any_say_nothing():
    same = pa.table({"day": np.arange(DAYS), "quote": np.full(DAYS, 7.5)})
    row = of_last_day(signals(FLAT, FLAT * 0, same), "quoted_value")
    assert (row["z"], row["is_unusual"], row["usual"]) == (None, False, None)
    assert (
        row["sentence"]
        == "$7.50 is the typical quote: no control limits, because the values did not vary within the days before."
    )
    zero = pa.table({"day": np.arange(DAYS), "quote": np.zeros(DAYS)})
    found = signals(FLAT, FLAT * 0, zero)
    assert "quoted_value" not in {row["signal"] for row in found}
    assert of_last_day(found, "win_rate")["value"] == 0


def test_a_day_on_which_nothing_was_submitted_is_one_of_no_purchases():
    found = signals(np.where(np.arange(DAYS) == DAYS - 1, 0, FLAT), FLAT * 0)
    row = of_last_day(found, "purchases")
    assert (row["value"], row["is_unusual"]) == (0, True)
    assert row["sentence"].startswith("0 purchases: unusually low; the usual range is 69 to 131.")


def test_of_days_that_differ_more_than_by_chance_few_are_called_unusual():
    rng = np.random.default_rng(41)
    alarms = rows = 0
    for _ in range(10):
        rate = rng.beta(4, 76, DAYS)  # 5 %, between days as much as within them
        failed = rng.binomial(FLAT * 3, rate)
        for row in signals(FLAT * 3, failed):
            if row["signal"] == "failed_rate" and row["z"] is not None:
                alarms, rows = alarms + row["is_unusual"], rows + 1
    assert rows == 460
    assert alarms <= 10


@pytest.mark.parametrize("k", [2, 3, 10, 100, 5_000, 1_000_000])
def test_the_point_at_which_k_intervals_hold_at_once_is_scipys(k):
    with duckdb.connect() as connection:
        connection.execute(macros())
        (found,) = connection.execute(f"SELECT z_of_all({k})").fetchone() or ()
    assert found == pytest.approx(stats.norm.isf(0.025 / k), abs=1e-6)


def compared(wins: np.ndarray, pulls: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of `pack_economics` for packs with so many sessions of one pull for $10 each, of which so many win."""
    with duckdb.connect() as connection:
        connection.execute(macros())
        for name in TABLES["pack_economics"].sources:
            columns = ", ".join(f'"{c.name}" {c.type}' for c in TABLES[name].columns)
            connection.execute(f"CREATE TABLE {name} ({columns})")
        connection.register("packs", pa.table({"pack": np.arange(len(wins)), "wins": wins, "pulls": pulls}))
        connection.execute(
            """
            INSERT INTO purchases BY NAME SELECT pack || '-' || i AS session_id, pack::VARCHAR AS pack_id,
                'fulfilled' AS status, 1 AS pull_count, 10 AS price_usd, 1 AS buyback_value_usd
                FROM (SELECT pack, unnest(range(pulls)) AS i FROM packs);
            INSERT INTO daily_quote_counts BY NAME SELECT DATE '2026-01-01' AS pulled_date, pack::VARCHAR AS pack_id,
                'enft' AS item_type, 10 AS session_price_usd, 1 AS pulls_a_session,
                CASE WHEN is_won THEN 20 ELSE 5 END AS buyback_price_usd, n AS pull_count, n AS session_count,
                n AS session_quotes, n AS session_quotes_squared, n AS session_ranks,
                CASE WHEN is_won THEN n ELSE 0 END AS session_wins,
                n * buyback_price_usd / 10 AS session_capped,
                n * (buyback_price_usd / 10) ^ 2 AS session_capped_squared,
                n * buyback_price_usd / 10 AS session_capped_times_quotes
            FROM (
                SELECT pack, true AS is_won, wins AS n FROM packs
                UNION ALL SELECT pack, false, pulls - wins FROM packs
            )
            WHERE n > 0
            """
        )
        columns = "win_rate, win_rate_low_of_all, win_rate_high_of_all, win_rate_shrunk, win_rate_rank"
        economics = query(TABLES["pack_economics"])
        rows = connection.execute(f"SELECT {columns} FROM ({economics}) ORDER BY pack_id::INTEGER").fetchnumpy()
        return {name: np.ma.filled(np.ma.asarray(values, float), np.nan) for name, values in rows.items()}


def test_packs_are_compared_by_intervals_that_hold_at_once_and_ranked_by_shrunk_rates():
    rng = np.random.default_rng(51)
    pulls = rng.integers(20, 400, 12)
    wins = rng.binomial(pulls, rng.beta(6, 24, 12))
    found = compared(wins, pulls)
    for pack in range(12):
        hits = np.repeat([1, 0], [wins[pack], pulls[pack] - wins[pack]])
        low, high = clustered_wilson(hits, np.ones(pulls[pack]), stats.norm.isf(0.025 / 12))
        assert found["win_rate_low_of_all"][pack] == pytest.approx(low, abs=2e-3)
        assert found["win_rate_high_of_all"][pack] == pytest.approx(high, abs=2e-3)
    # The variance of a sample's sessions is over one less than their number, so that pulls are worth a little less.
    h = np.minimum(wins, pulls - wins)
    design = np.maximum(1, (h * pulls / (pulls - 1) + 1) / (h + 1))
    k, n = wins / design, pulls / design
    mean = k.sum() / n.sum()
    variance = ((n * (k / n - mean) ** 2).sum() - 11 * mean * (1 - mean)) / (n.sum() - (n**2).sum() / n.sum())
    m = max(0, mean * (1 - mean) / variance - 1)
    shrunk = (m * mean + k) / (m + n)
    assert variance > 0
    assert found["win_rate_shrunk"] == pytest.approx(shrunk, rel=1e-6)
    assert found["win_rate_rank"].tolist() == stats.rankdata(-shrunk, method="min").tolist()


def test_packs_that_differ_by_chance_alone_have_one_shrunk_rate_and_few_packs_have_none():
    equal = compared(np.full(10, 20), np.full(10, 100))
    assert equal["win_rate_shrunk"] == pytest.approx(0.2)
    assert equal["win_rate_rank"].tolist() == [1] * 10
    few = compared(np.array([10, 30]), np.array([100, 100]))
    assert np.isnan(few["win_rate_shrunk"]).all()
    assert few["win_rate_rank"].tolist() == [2, 1]
    (one,) = compared(np.array([0]), np.array([50]))["win_rate_high_of_all"]
    assert one == pytest.approx(clustered_wilson(np.zeros(50), np.ones(50))[1], abs=1e-4)


def test_the_same_days_give_the_same_figures_to_the_last_bit():
    rng = np.random.default_rng(5)
    days = np.repeat(np.arange(DAYS), 6_000)
    pulls = pa.table({"day": days, "quote": np.round(rng.lognormal(2, 2, len(days)), 2)})
    failed = rng.binomial(FLAT, 0.05)
    first, *others = [signals(FLAT, failed, pulls) for _ in range(4)]
    assert all(other == first for other in others)
