"""Intervals and tests of the SQL macros, beside those that scipy gives."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from scipy import special, stats

from benchmarks import coverage, looks, shrinkage
from pipeline.schema import TABLES
from pipeline.transform.queries import macros, query
from tests.support.intervals import clustered_wilson

pytestmark = pytest.mark.one_python


@pytest.fixture(scope="module")
def sql() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute(macros())
        yield connection


def value(sql: duckdb.DuckDBPyConnection, expression: str) -> float:
    found: float
    ((found,),) = sql.execute(f"SELECT {expression}").fetchall()
    return found


@pytest.mark.parametrize("df", [20, 50, 99, 300, 3_000, 10_000_000])
def test_the_point_of_students_t_is_scipys(sql, df):
    assert value(sql, f"t_975({df})") == pytest.approx(stats.t.ppf(0.975, df), abs=1e-4)


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (3, 10), (1, 300), (167, 1_000), (5_000_000, 12_345_678)])
def test_the_wilson_interval_is_scipys(sql, hits, n):
    expected = stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert value(sql, f"wilson_low({hits}::BIGINT, {n}::BIGINT, z_975())") == pytest.approx(expected.low, abs=1e-12)
    assert value(sql, f"wilson_high({hits}::BIGINT, {n}::BIGINT, z_975())") == pytest.approx(expected.high, abs=1e-12)


def test_a_share_of_nothing_has_no_interval_and_one_of_all_or_none_has_a_bound_at_its_end(sql):
    assert value(sql, "wilson_low(0, 0, 2)") is None and value(sql, "wilson_high(0, 0, 2)") is None
    assert value(sql, "wilson_low(NULL, 5, 2)") is None and value(sql, "wilson_high(NULL, 5, 2)") is None
    assert (value(sql, "wilson_low(0, 185, 2)"), value(sql, "wilson_high(185, 185, 2)")) == (0, 1)


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
    ((low, high),) = sql.execute(found).fetchall()
    plain = stats.t.interval(0.95, 299, values.mean(), stats.sem(values))
    assert low > plain[0] and high > plain[1]


def test_the_mean_s_interval_inverts_halls_transformation(sql):
    values = np.random.default_rng(4).lognormal(size=400)
    sample(sql, values, np.ones(400))
    skewness, t = stats.skew(values), stats.t.ppf(0.975, 399)
    for bound, expected in (("mean_low", t), ("mean_high", -t)):
        ((found,),) = sql.execute(f"SELECT {bound}(session_sums(y, m)) FROM sample").fetchall()
        w = (values.mean() - found) / stats.sem(values)
        root = np.sqrt(400)
        transformed = w + skewness * w**2 / (3 * root) + skewness**2 * w**3 / (27 * 400) + skewness / (6 * root)
        assert transformed == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("z", "df"), [(z, df) for z in (1.96, 2.5, 3.3, 3.9) for df in (10, 30, 99, 1_000)])
def test_the_point_of_students_t_for_any_probability_is_scipys(sql, z, df):
    # The expansion's next term, which is left out, is of the fourth order.
    expected = stats.t.isf(stats.norm.sf(z), df)
    assert value(sql, f"t_point({z}, {df})") == pytest.approx(expected, abs=0.05 * z**9 / df**4 + 1e-9)


def samples_of_shares() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(11)
    sizes = rng.integers(1, 11, 200)
    p = rng.beta(0.3, 1, 200)
    return {
        "independent": (rng.binomial(sizes, 0.2), sizes),
        "alike": (rng.binomial(sizes, p), sizes),
        "wholly alike": (sizes * (rng.random(200) < 0.3), sizes),
        "one session": (np.array([3]), np.array([7])),
        "no hit": (np.zeros(50), np.full(50, 4)),
        "all hits": (np.full(50, 4), np.full(50, 4)),
        "one hit": (np.eye(1, 80)[0], np.full(80, 3)),
        "one session of many": (np.array([0, 1, 0, 0, 300, 1, 0]), np.array([1, 1, 1, 1, 1_000, 1, 1])),
        "opposed": (np.full(60, 1), np.full(60, 2)),
    }


@pytest.mark.parametrize("name", samples_of_shares())
def test_the_interval_of_a_share_of_clustered_pulls_is_that_of_numpy(sql, name):
    y, m = samples_of_shares()[name]
    sample(sql, y, m)
    bounds = ", ".join(f"clustered_{end}(s, design_effect(s), t_975(s.n - 1))" for end in ("low", "high"))
    found = sql.execute(f"SELECT {bounds} FROM (SELECT session_sums(y, m) AS s FROM sample)").fetchone()
    assert found == pytest.approx(clustered_wilson(y, m), abs=2e-3 if len(y) < 20 else 1e-5)
    assert 0 <= found[0] <= y.sum() / m.sum() <= found[1] <= 1


def test_a_share_without_sessions_has_no_interval(sql):
    sample(sql, np.array([]), np.array([]))
    bounds = ", ".join(f"clustered_{end}(s, design_effect(s), t_975(s.n - 1))" for end in ("low", "high"))
    assert sql.execute(f"SELECT {bounds} FROM (SELECT session_sums(y, m) AS s FROM sample)").fetchone() == (None, None)


def test_the_upper_bound_of_a_capped_mean_is_no_lower_than_with_one_more_jackpot(sql):
    rng = np.random.default_rng(12)
    sums = "(SELECT session_sums(y, m) AS s FROM sample)"
    bound = f"SELECT capped_mean_high(s, with_a_jackpot(s)), mean_high(s) FROM {sums}"
    samples = {"flat": np.full(150, 0.8), "drawn": np.minimum(rng.lognormal(-0.5, 1, 400), 5), "high": np.full(120, 5)}
    for name, values in samples.items():
        sample(sql, np.append(values, 5), np.ones(len(values) + 1))
        ((_, with_one_more),) = sql.execute(bound).fetchall()
        sample(sql, values, np.ones(len(values)))
        ((found, plain),) = sql.execute(bound).fetchall()
        assert found == pytest.approx(min(5, max(plain, with_one_more)), rel=1e-12), name
    # Flat prices alone would give no width at all.
    sample(sql, samples["flat"], np.ones(150))
    ((found, _),) = sql.execute(bound).fetchall()
    assert found > 0.85


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


@pytest.mark.parametrize("p", [1e-4, 0.01, 0.3, 0.5, 0.8, 0.999])
@pytest.mark.parametrize(
    ("share", "n"), [(0, 1), (1, 1), (0.5, 10), (0, 500), (1, 500), (0.013, 100_000), (0.5, 10**7)]
)
def test_the_evidence_against_a_share_is_that_of_scipy_s_beta_functions(sql, share, n, p):
    k = round(share * n)
    a = 4 * max(p, 1 - p) / min(p, 1 - p)
    expected = special.betaln(a * p + k, a * (1 - p) + n - k) - special.betaln(a * p, a * (1 - p))
    expected -= k * np.log(p) + (n - k) * np.log1p(-p)
    assert value(sql, f"evidence_log({k}, {n}, {p}::DOUBLE)") == pytest.approx(expected, rel=1e-6, abs=1e-5)


def evidence(pulls: np.ndarray, published: tuple[float, ...], tier: int) -> float:
    """The p-value of one tier of one pack for a look each day. `pulls` has a row a pull: session, day, tier."""
    p = published[tier - 1]
    lone_k = lone_n = all_k = all_n = 0
    log_of_larger, highest = 0.0, 0.0
    a = 4 * max(p, 1 - p) / min(p, 1 - p)
    for day in range(pulls[:, 1].max() + 1):
        of_day = pulls[pulls[:, 1] == day]
        q = (100 * p + all_k) / (100 + all_n)
        for session in np.unique(of_day[:, 0]):
            tiers = of_day[of_day[:, 0] == session, 2]
            hits = int((tiers == tier).sum())
            if len(tiers) == 1:
                lone_k, lone_n = lone_k + hits, lone_n + 1
            else:
                ratios = np.where(tiers == tier, q / p, (1 - q) / (1 - p))
                log_of_larger += np.log(ratios.mean())
            all_k, all_n = all_k + hits, all_n + len(tiers)
        mixture = special.betaln(a * p + lone_k, a * (1 - p) + lone_n - lone_k) - special.betaln(a * p, a * (1 - p))
        highest = max(highest, mixture - lone_k * np.log(p) - (lone_n - lone_k) * np.log1p(-p) + log_of_larger)
    return float(min(1, np.exp(-highest)))


ODD_CASES = {
    "single pulls": looks.Case(3, looks.ALONE),
    "sessions of 1 to 10, half alike": looks.Case(30, looks.TO_TEN, 0.5),
    "all alike and of other odds": looks.Case(20, looks.TO_TEN, 1.0, (0.2, 0.2, 0.2, 0.4)),
    "only the rarest tier": looks.Case(2, looks.TO_FIVE, 0.0, (0, 0, 0, 1)),
}


@pytest.mark.parametrize("name", ODD_CASES)
def test_the_p_value_for_a_look_each_day_is_that_of_a_plain_loop_over_sessions(name, monkeypatch):
    monkeypatch.setattr(looks, "DAYS", 12)
    drawn = looks.drawn(np.random.default_rng(21), ODD_CASES[name], packs=3)
    with duckdb.connect() as connection:
        looks.looked_at(connection, drawn)
        connection.execute("INSERT INTO tier_days FROM all_days")
        rates = query(TABLES["tier_hit_rates"])
        rows = connection.execute(
            f"SELECT pack_id::INTEGER, fmv_low_usd::INTEGER, p_any_time, hit_rate_low, hit_rate_high FROM ({rates}) "
            "WHERE tier IS NOT NULL ORDER BY ALL"
        ).fetchall()
    pulls = np.column_stack([drawn[name].to_numpy() for name in ("session", "day", "tier", "pack")])
    assert len(rows) == 12
    for pack, tier, *found in rows:
        own = pulls[pulls[:, 3] == pack]
        sessions, sizes = np.unique(own[:, 0], return_counts=True)
        hits = np.array([(own[own[:, 0] == session, 2] == tier).sum() for session in sessions])
        expected = [evidence(own[:, :3], looks.PUBLISHED, tier), *clustered_wilson(hits, sizes)]
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-4), (pack, tier)


def test_who_looks_every_day_is_seldom_told_that_true_odds_are_wrong_and_soon_that_wrong_ones_are():
    alike = looks.found(looks.CASES["true odds, sessions of 1 to 10, half alike"], packs=60, looks=(30, 90))
    assert alike.ever <= 0.1 and alike.ever_by_exact_test > 0.3
    richer = looks.found(looks.CASES["1 % is 2 %, single pulls"], packs=20, looks=(14, 21, 30, 60))
    assert richer.ever == 1 and richer.median_days <= 30


@pytest.fixture(scope="module")
def mixes() -> dict[str, coverage.Mix]:
    return coverage.mixes(np.random.default_rng(5))


# Of a thousand samples, three standard errors are two percent.
def test_what_is_headlined_holds_the_truth_as_often_as_it_says_and_the_raw_mean_does_not(mixes):
    held = coverage.coverage(mixes["tiers, sessions of 1 to 5"], sessions=100, samples=1_000)
    for name in ("mean, capped at 5", "median", "win rate"):
        assert 0.93 <= held[name].share <= 0.98, name
    assert held["mean, raw"].share < 0.85
    assert held["win rate"].width < 1.15 * held["win rate, plain"].width


def test_where_pulls_are_alike_the_win_rate_s_interval_holds_and_the_plain_one_does_not(mixes):
    held = coverage.coverage(mixes["tiers, sessions of 1 to 10, half alike"], sessions=100, samples=500)
    assert 0.92 <= held["win rate"].share <= 0.99
    assert held["win rate, plain"].share < 0.85
    assert held["median"].share >= 0.92


def test_where_a_rare_jackpot_decides_the_capped_mean_s_interval_holds(mixes):
    held = coverage.coverage(mixes["flat, a jackpot in 333 pulls"], sessions=100, samples=500)
    assert held["mean, capped at 5"].share >= 0.92
    few = coverage.coverage(mixes["tiers, sessions of 1 to 5"], sessions=30, samples=500)
    assert np.isnan(few["mean, capped at 5"].share)
    assert few["median"].share >= 0.92


def test_users_are_ranked_by_their_differences_and_not_by_jackpots():
    markets = shrinkage.markets(np.random.default_rng(7))
    for name in ("the simulator's packs", "flat, a jackpot in 100 pulls, $10 to $1,000"):
        for seed in range(4):
            users = shrinkage.drawn(np.random.default_rng(seed), markets[name], difference=0)
            found = shrinkage.estimates(users.pulls)
            common = found[shrinkage.SHRUNK].mean()
            assert found[shrinkage.SHRUNK].std() < 0.01 * common  # without differences, nearly one value
            assert found[shrinkage.BY_SPEND].max() > 1.5 * common
        raw, by_spend, shrunk = shrinkage.compared(markets[name], difference=0.2, sets=4).values()
        assert shrunk.error < 0.2 < min(raw.error, by_spend.error)
        assert shrunk.correlation > max(raw.correlation, by_spend.correlation) + 0.03
        assert shrunk.highest > 1.2
