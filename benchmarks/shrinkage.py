"""How well return ratios tell which users have a higher return, by simulation. It takes a minute or two.

Many sets of users buy 1 to 200 sessions each, most of them few. The values of a user's pulls are those of a market,
times a factor of the user with the mean 1. Without differences, that factor is 1, and every spread of an estimate is
chance. The pipeline's queries compute the raw and the shrunk ratio. For comparison, the raw ratio is shrunk by the
usual moments (Bühlmann and Straub, 1970), with weights by spend and nothing capped. Errors and the highest estimate are
multiples of the mean return. `shrinkage.py 2` draws twice as many sets.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table
from scipy import stats

from benchmarks import coverage
from pipeline.schema import TABLES
from pipeline.simulator import catalogue
from pipeline.transform.queries import macros, query

SETS = 20
USERS = 300
LONGEST = 200  # sessions of a user
TEMPLATES = 10_000  # sessions of the simulator
DIFFERENCES = (0.0, 0.2, 0.5)  # standard deviations of the users' factors
RAW, BY_SPEND, SHRUNK = "return ratio", "shrunk, by spend", "return_ratio_shrunk"


class Market(NamedTuple):
    """Packs by price: the shares of sessions, and populations of multiples. With the probability `resemblance`, a pull
    repeats the first multiple of its session."""

    prices: tuple[float, ...]
    shares: tuple[float, ...]
    multiples: tuple[np.ndarray, ...]
    resemblance: float = 0.0

    @property
    def mean(self) -> float:
        """The expected return ratio."""
        means = [multiples.mean() for multiples in self.multiples]
        return float(np.average(means, weights=np.multiply(self.prices, self.shares)))


class Users(NamedTuple):
    """One row per pull, and by user the true return ratio."""

    pulls: pa.Table
    truth: np.ndarray


class Found(NamedTuple):
    """Of an estimate, over all sets: the median of the highest, the root mean squared error, the mean rank correlation
    to the truth, and the share of sets in which users have different values. A set in which all have the same counts as
    a correlation of 0."""

    highest: float
    error: float
    correlation: float
    spread_share: float


def simulated() -> Market:
    """The packs of the simulator."""
    multiples: dict[float, list[float]] = {pack.price: [] for pack in catalogue.PACKS}
    sessions: dict[float, int] = dict.fromkeys(multiples, 0)
    for i in range(TEMPLATES):
        fate = catalogue.session(1, f"template-{i}", is_sandbox=False)
        sessions[fate.pack.price] += 1
        multiples[fate.pack.price] += [item["buyback_price"] / fate.pack.price for item in fate.result["nfts"]]
    shares = tuple(count / TEMPLATES for count in sessions.values())
    return Market(tuple(multiples), shares, tuple(np.array(values) for values in multiples.values()))


def markets(rng: np.random.Generator) -> dict[str, Market]:
    tiers = coverage.population(rng) / coverage.PRICE
    in_100, in_333 = (coverage.flat(rng, share) / coverage.PRICE for share in (0.01, 0.003))
    packs = simulated()
    return {
        "the simulator's packs": packs,
        "tiers": Market((50.0,), (1.0,), (tiers,)),
        "tiers, half of a session's pulls alike": Market((50.0,), (1.0,), (tiers,), 0.5),
        "flat, a jackpot in 100 pulls": Market((50.0,), (1.0,), (in_100,)),
        "flat, a jackpot in 333 pulls": Market((50.0,), (1.0,), (in_333,)),
        "flat, a jackpot in 100 pulls, $10 to $1,000": packs._replace(multiples=(in_100,) * len(packs.prices)),
    }


def drawn(rng: np.random.Generator, market: Market, difference: float) -> Users:
    """Users whose factors have the given standard deviation."""
    sessions = np.exp(rng.random(USERS) ** 1.6 * np.log(LONGEST)).round().astype(int)
    user = np.repeat(np.arange(USERS), sessions)
    factor = rng.gamma(difference**-2, difference**2, USERS) if difference else np.ones(USERS)
    pack = rng.choice(len(market.prices), len(user), p=market.shares)
    size = rng.choice(list(coverage.FEW), len(user), p=list(coverage.FEW.values()))
    session = np.repeat(np.arange(len(user)), size)
    multiple = np.empty(len(session))
    for number, population in enumerate(market.multiples):
        own = pack[session] == number
        multiple[own] = rng.choice(population, own.sum())
    first = np.repeat(np.searchsorted(session, np.arange(len(user))), size)
    multiple = np.where(rng.random(len(session)) < market.resemblance, multiple[first], multiple)
    price = np.array(market.prices)[pack[session]]
    pulls = pa.table(
        {
            "session": session,
            "user": user[session],
            "price": price * size[session],
            "quote": multiple * factor[user[session]] * price,
        }
    )
    return Users(pulls, market.mean * factor)


def estimates(pulls: pa.Table) -> dict[str, np.ndarray]:
    """The estimates for each user."""
    with duckdb.connect() as connection:
        connection.execute(macros())
        connection.register("drawn", pulls)
        connection.execute(
            f"""
            CREATE VIEW pulls AS SELECT "user"::VARCHAR AS user_id, session::VARCHAR AS session_id,
                price::DECIMAL(18,4) AS session_price_usd, quote::DECIMAL(18,4) AS buyback_price_usd,
                multiple(buyback_price_usd, count(*) OVER (PARTITION BY session), session_price_usd) AS multiple
                FROM drawn;
            CREATE TABLE user_daily_quote_counts AS {query(TABLES["user_daily_quote_counts"])};
            CREATE TABLE user_period_quote_counts AS {query(TABLES["user_period_quote_counts"])};
            CREATE VIEW user_periods AS SELECT user_id,
                session_count AS purchase_count, session_count AS fulfilled_count,
                TIMESTAMPTZ '2026-01-01' AS first_purchased_at, first_purchased_at AS last_purchased_at
                FROM user_daily_quote_counts
            """
        )
        found: dict[str, Any] = connection.execute(
            f"SELECT return_ratio, return_ratio_shrunk FROM ({query(TABLES['users'])}) ORDER BY user_id::INTEGER"
        ).fetchnumpy()
        sessions: dict[str, Any] = connection.execute(
            'SELECT "user", any_value(price) AS spend, sum(quote) AS quoted FROM drawn GROUP BY "user", session'
        ).fetchnumpy()
    by_spend = shrunk_by_spend(*sessions.values())
    return {RAW: found["return_ratio"], BY_SPEND: by_spend, SHRUNK: found["return_ratio_shrunk"]}


def shrunk_by_spend(user: np.ndarray, spend: np.ndarray, quoted: np.ndarray) -> np.ndarray:
    """Bühlmann and Straub's estimates from the spend and the quotes of sessions."""
    w, y, squares = (np.bincount(user, weights=values) for values in (spend, quoted, quoted**2 / spend))
    within = (squares - y**2 / w).sum() / (len(user) - len(w))
    excess = (y**2 / w).sum() - y.sum() ** 2 / w.sum() - (len(w) - 1) * within
    between = max(0, excess / (w.sum() - (w**2).sum() / w.sum()))
    result: np.ndarray = (within * y.sum() / w.sum() + between * y) / (within + between * w)
    return result


def compared(market: Market, difference: float, sets: int = SETS) -> dict[str, Found]:
    """The qualities of the estimates over many sets of users."""
    rows: dict[str, list[tuple[float, ...]]] = {RAW: [], BY_SPEND: [], SHRUNK: []}
    for seed in range(sets):
        users = drawn(np.random.default_rng(seed), market, difference)
        for name, estimate in estimates(users.pulls).items():
            error = float(np.square(estimate / market.mean - users.truth / market.mean).mean())
            is_spread = bool(np.ptp(estimate) > 1e-6 * market.mean)
            is_ranked = is_spread and difference > 0
            correlation = stats.spearmanr(estimate, users.truth).statistic if is_ranked else 0.0
            rows[name].append((estimate.max() / market.mean, error, correlation, is_spread))
    found = {}
    for name, values in rows.items():
        highest, error, correlation, is_spread = np.array(values).T
        error = np.sqrt(error.mean())
        found[name] = Found(*map(float, (np.median(highest), error, correlation.mean(), is_spread.mean())))
    return found


def main() -> None:
    sets = round(SETS * (float(sys.argv[1]) if len(sys.argv) > 1 else 1.0))
    title = f"{sets} sets of {USERS} users: highest estimate, error, rank correlation to the truth"
    caption = "Without differences: the share of sets in which users get different values, instead of the correlation"
    table = Table(title=title, caption=caption)
    for heading in ("", "difference", RAW, BY_SPEND, SHRUNK):
        table.add_column(heading, justify="right" if heading else "left")
    for name, market in markets(np.random.default_rng(20260301)).items():
        for difference in DIFFERENCES:
            cells = (
                f"{one.highest:.2f}  {one.error:.3f}  "
                + (f"{one.correlation:.2f}" if difference else f"{100 * one.spread_share:.0f} %")
                for one in compared(market, difference, sets).values()
            )
            table.add_row(name, f"{difference}", *cells)
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
