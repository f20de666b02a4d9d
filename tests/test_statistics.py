"""Intervals and tests of the SQL macros, beside those that scipy gives."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from benchmarks import coverage
from pipeline.tables.queries import macros


@pytest.fixture(scope="module")
def sql() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(macros())
        yield connection


def value(sql: duckdb.DuckDBPyConnection, expression: str) -> float:
    (found,) = sql.execute(f"SELECT {expression}").fetchone() or ()
    return found


@pytest.mark.parametrize("df", [20, 50, 99, 300, 3_000, 10_000_000])
def test_the_point_of_students_t_is_scipys(sql, df):
    assert value(sql, f"t_975({df})") == pytest.approx(stats.t.ppf(0.975, df), abs=1e-4)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (3, 10), (1, 300), (167, 1_000), (5_000_000, 12_345_678)])
def test_the_wilson_interval_is_scipys(sql, hits, n):
    expected = stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert value(sql, f"wilson_low({hits}::BIGINT, {n}::BIGINT)") == pytest.approx(expected.low, abs=1e-12)
    assert value(sql, f"wilson_high({hits}::BIGINT, {n}::BIGINT)") == pytest.approx(expected.high, abs=1e-12)


def test_a_share_of_nothing_has_no_interval_and_one_of_all_or_none_has_a_bound_at_its_end(sql):
    assert value(sql, "wilson_low(0, 0)") is None and value(sql, "wilson_high(0, 0)") is None
    assert value(sql, "wilson_low(NULL, 5)") is None and value(sql, "wilson_high(NULL, 5)") is None
    assert (value(sql, "wilson_low(0, 185)"), value(sql, "wilson_high(185, 185)")) == (0, 1)


P_VALUES = [
    *((hits, 30, p) for hits in range(0, 31, 3) for p in (0.01, 0.2, 0.5, 0.93)),
    *((0, 1_000, 0.004), (12, 1_000, 0.004), (4, 1_000, 0.004), (820, 1_000, 0.8), (900, 1_000, 0.8)),
    *((2, 4, 0.5), (0, 1, 0.3), (1, 1, 0.3), (0, 0, 0.3), (0, 5_000, 1e-9), (40_300, 4_000_000, 0.01)),
    *((10_000_000, 10_000_000, 0.5), (0, 10_000_000, 0.5), (10, 10, 0.001)),
]


@pytest.mark.parametrize(("hits", "n", "p"), P_VALUES)
def test_the_exact_binomial_test_is_scipys(sql, hits, n, p):
    expected = stats.binomtest(hits, n, p).pvalue if n else 1.0
    assert value(sql, f"binomial_p_value({hits}, {n}, {p})") == pytest.approx(expected, rel=1e-6)


def test_a_tier_that_cannot_be_hit_and_one_that_must_be_are_tested_without_a_logarithm_of_zero(sql):
    found = [value(sql, f"binomial_p_value({hits}, 5, {p})") for hits, p in ((0, 0), (1, 0), (5, 1), (4, 1))]
    assert found == [1, 0, 1, 0]
    assert value(sql, "binomial_p_value(NULL, 5, 0.5)") is None
    assert value(sql, "binomial_p_value(1, 5, NULL)") is None


def sample(sql: duckdb.DuckDBPyConnection, sums: np.ndarray, counts: np.ndarray) -> None:
    sql.register("sample", pa.table({"y": sums.astype(float), "m": counts.astype(int)}))


def test_the_clustered_error_of_sessions_of_one_pull_is_that_of_a_mean(sql):
    values = np.random.default_rng(1).lognormal(size=200)
    sample(sql, values, np.ones(200))
    found = sql.execute(
        "SELECT ratio_mean(s), clustered_error(s), skew(s) FROM (SELECT session_sums(y, m) AS s FROM sample)"
    ).fetchone()
    assert found == pytest.approx((values.mean(), stats.sem(values), stats.skew(values) / np.sqrt(200)))


def test_the_clustered_error_of_larger_sessions_is_that_of_a_ratio_of_means(sql):
    rng = np.random.default_rng(2)
    counts = rng.integers(1, 6, 500)
    sums = np.array([rng.lognormal(size=n).sum() for n in counts])
    sample(sql, sums, counts)
    residuals = sums - sums.sum() / counts.sum() * counts
    expected = stats.sem(residuals) / counts.mean()
    found = sql.execute("SELECT clustered_error(session_sums(y, m)) FROM sample").fetchone()
    assert found == pytest.approx((expected,))


def test_the_mean_s_interval_is_students_where_there_is_no_skewness_and_reaches_further_up_where_there_is(sql):
    rng = np.random.default_rng(3)
    half = rng.normal(size=150)
    sample(sql, np.concatenate([half, -half]) + 5, np.ones(300))
    values = sql.execute("SELECT y FROM sample").fetchnumpy()["y"]
    expected = stats.t.interval(0.95, 299, values.mean(), stats.sem(values))
    found = "SELECT mean_low(session_sums(y, m)), mean_high(session_sums(y, m)) FROM sample"
    assert sql.execute(found).fetchone() == pytest.approx(expected, abs=1e-5)
    values = rng.lognormal(size=300)
    sample(sql, values, np.ones(300))
    low, high = sql.execute(found).fetchone() or ()
    plain = stats.t.interval(0.95, 299, values.mean(), stats.sem(values))
    assert low > plain[0] and high > plain[1]


def test_the_mean_s_interval_inverts_halls_transformation(sql):
    values = np.random.default_rng(4).lognormal(size=400)
    sample(sql, values, np.ones(400))
    skewness, t = stats.skew(values), stats.t.ppf(0.975, 399)
    for bound, expected in (("mean_low", t), ("mean_high", -t)):
        (found,) = sql.execute(f"SELECT {bound}(session_sums(y, m)) FROM sample").fetchone() or ()
        w = (values.mean() - found) / stats.sem(values)
        root = np.sqrt(400)
        transformed = w + skewness * w**2 / (3 * root) + skewness**2 * w**3 / (27 * 400) + skewness / (6 * root)
        assert transformed == pytest.approx(expected, abs=1e-4)


def test_values_that_are_all_alike_have_an_interval_of_no_width(sql):
    sample(sql, np.full(100, 2.5), np.ones(100))
    found = sql.execute("SELECT mean_low(session_sums(y, m)), mean_high(session_sums(y, m)) FROM sample").fetchone()
    assert found == pytest.approx((2.5, 2.5))


@pytest.mark.parametrize("n", [100, 101, 250, 1_000, 3_001, 100_000])
def test_the_median_s_bounds_are_the_order_statistics_of_the_binomial_distribution(sql, n):
    rank = value(sql, f"median_low_rank({n}, 1 / (2 * sqrt({n})))")
    covered = 1 - 2 * stats.binom.cdf(rank - 1, n, 0.5)
    assert 0.95 <= covered < 0.97
    assert rank == stats.binom.ppf(0.025, n, 0.5)


def test_what_is_headlined_holds_the_truth_as_often_as_it_says_and_the_raw_mean_does_not():
    quotes = coverage.population(np.random.default_rng(5))
    held = coverage.coverage(quotes, sessions=100, samples=1_000, resemblance=0)
    # Of a thousand samples, three standard errors are two percent.
    for name in ("mean, capped at 5", "median", "win rate"):
        assert 0.93 <= held[name] <= 0.98, name
    assert held["mean, raw"] < 0.85
