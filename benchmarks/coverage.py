"""Coverage and mean width of the 95 % intervals of a pack's multiples and win rate, by simulation. It takes minutes.

Many samples of sessions are drawn from a known population. Each sample is a pack of its own, and the pipeline's query
computes its intervals. The first mix is a pack for $50 with tiers of 80, 15, 4 and 1 %, and card values with a median
of $105 and a mean of $359: nearly all variance comes from the 1 % tier. Simpler intervals fail on the other mixes:
sessions of 1 to 10 pulls, half of which have equal values, and flat prices with a rare jackpot. Two intervals that the
tables do not have serve for comparison: Student's t over sessions for the raw mean, and the plain Wilson interval of
the win rate, which assumes independent pulls. `coverage.py 2` draws twice as many samples.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table
from scipy import stats

from pipeline.schema import TABLES
from pipeline.transform.queries import macros, query

PRICE = 50.0  # of one pull, in USD
BUYBACK_SHARE = 0.85
VALUES = stats.lognorm(s=math.sqrt(2 * math.log(359 / 105)), scale=105)
TIERS = ((0.80, 20, 50), (0.15, 50, 100), (0.04, 100, 500), (0.01, 500, 20_000))  # weight, FMV from, to
FEW = {1: 0.80, 2: 0.10, 3: 0.06, 5: 0.04}  # share of sessions by their number of pulls
MANY = dict.fromkeys(range(1, 11), 0.1)
SAMPLES = {30: 4_000, 100: 4_000, 300: 3_000, 1_000: 2_000}  # number of samples by sessions per sample
SESSIONS_AT_ONCE = 300_000
POPULATION = 2_000_000
INTERVALS = {  # by label: the true value's name, and the columns of both bounds
    "mean, raw": ("mean", "raw_low", "raw_high"),
    "mean, capped at 5": ("capped", "multiple_mean_capped_5x_low", "multiple_mean_capped_5x_high"),
    "median": ("median", "multiple_median_low", "multiple_median_high"),
    "win rate, plain": ("win_rate", "plain_low", "plain_high"),
    "win rate": ("win_rate", "win_rate_low", "win_rate_high"),
}


class Mix(NamedTuple):
    """A population of sessions: quotes, the shares of session sizes in pulls, and the probability that a pull repeats
    the first value of its session."""

    quotes: np.ndarray
    sizes: dict[int, float] = FEW
    resemblance: float = 0.0


class Held(NamedTuple):
    """An interval's coverage among the samples with an interval, and its mean width. Coverage is NaN without any."""

    share: float
    width: float


def population(rng: np.random.Generator) -> np.ndarray:
    """Quotes in USD, to the cent."""
    tier = rng.choice(len(TIERS), POPULATION, p=[weight for weight, _, _ in TIERS])
    low, high = (np.array([VALUES.cdf(tier[side]) for tier in TIERS]) for side in (1, 2))
    values = VALUES.ppf(low[tier] + rng.random(POPULATION) * (high - low)[tier])
    quotes: np.ndarray = np.round(values * BUYBACK_SHARE, 2)
    return quotes


def truth(quotes: np.ndarray) -> dict[str, float]:
    multiples = quotes / PRICE
    return {
        "mean": float(multiples.mean()),
        "capped": float(np.minimum(multiples, 5).mean()),
        "median": float(np.median(multiples)),
        "win_rate": float((multiples >= 1).mean()),
    }


def flat(rng: np.random.Generator, jackpot_share: float) -> np.ndarray:
    """Quotes of 0.8 times the price, and jackpots of 40 times the price."""
    return np.where(rng.random(POPULATION) < jackpot_share, 40 * PRICE, 0.8 * PRICE)


def mixes(rng: np.random.Generator) -> dict[str, Mix]:
    tiers = population(rng)
    return {
        "tiers, sessions of 1 to 5": Mix(tiers),
        "tiers, half of a session's pulls alike": Mix(tiers, FEW, 0.5),
        "tiers, sessions of 1 to 10, half alike": Mix(tiers, MANY, 0.5),
        "flat, a jackpot in 100 pulls": Mix(flat(rng, 0.01)),
        "flat, a jackpot in 333 pulls": Mix(flat(rng, 0.003)),
        "flat, a jackpot in 100 pulls, sessions of 1 to 10, half alike": Mix(flat(rng, 0.01), MANY, 0.5),
    }


def drawn(rng: np.random.Generator, mix: Mix, sessions: int, samples: int) -> pa.Table:
    """Pulls of many samples. With the mix's probability, a pull repeats the first value of its session."""
    quantity = rng.choice(list(mix.sizes), sessions * samples, p=list(mix.sizes.values()))
    session = np.repeat(np.arange(sessions * samples), quantity)
    quote = rng.choice(mix.quotes, len(session))
    first = np.repeat(rng.choice(mix.quotes, sessions * samples), quantity)
    quote = np.where(rng.random(len(session)) < mix.resemblance, first, quote)
    return pa.table({"session": session, "sample": session // sessions, "quote": quote})


def intervals(pulls: pa.Table) -> dict[str, np.ndarray]:
    """The bounds of each sample's intervals: from the table `pack_economics`, and the two for comparison."""
    with duckdb.connect() as connection:
        connection.execute(macros())
        connection.register("drawn", pulls)
        connection.execute(
            f"""
            CREATE VIEW purchases AS SELECT session::VARCHAR AS session_id, any_value(sample)::VARCHAR AS pack_id,
                'fulfilled' AS status, count(*) AS pull_count, sum(quote)::DECIMAL(18,4) AS buyback_value_usd,
                (count(*) * {PRICE})::DECIMAL(18,4) AS price_usd,
                count(*)::INTEGER AS quantity, TIMESTAMPTZ '2026-01-01' AS resolved_at
                FROM drawn GROUP BY session;
            CREATE VIEW pulls AS SELECT session_id, 1 AS pull_number, NULL::VARCHAR AS item_type, false AS is_on_chain,
                quote::DECIMAL(18,4) AS buyback_price_usd, pack_id, price_usd AS session_price_usd,
                quote::DOUBLE / {PRICE} AS multiple, resolved_at AS pulled_at, utc_day(resolved_at) AS pulled_date
                FROM drawn JOIN purchases ON session_id = session::VARCHAR;
            CREATE VIEW reference_packs AS SELECT NULL::VARCHAR AS pack_id, NULL::VARCHAR AS name,
                NULL::DECIMAL(18,4) AS price_usd, NULL::DOUBLE AS buyback_share WHERE false;
            CREATE TABLE part_quote_counts AS {query(TABLES["part_quote_counts"])};
            CREATE TABLE daily_quote_counts AS {query(TABLES["daily_quote_counts"])};
            CREATE VIEW sums AS SELECT pack_id, session_sums(y, m) AS s FROM (
                SELECT pack_id, count(*) AS m, sum(buyback_price_usd)::DOUBLE / {PRICE} AS y
                FROM pulls GROUP BY pack_id, session_id
            ) GROUP BY pack_id;
            CREATE VIEW raw AS SELECT pack_id, clustered_error(s) * t_975(s.n - 1) AS half,
                ratio_mean(s) - half AS raw_low, ratio_mean(s) + half AS raw_high FROM sums;
            CREATE VIEW plain AS SELECT pack_id, wilson_low(hits, n, z_975()) AS plain_low,
                wilson_high(hits, n, z_975()) AS plain_high FROM (
                SELECT pack_id, count(*) FILTER (buyback_price_usd >= {PRICE}) AS hits, count(*) AS n
                FROM pulls GROUP BY pack_id)
            """
        )
        columns = ", ".join(bound for _, *bounds in INTERVALS.values() for bound in bounds)
        economics = query(TABLES["pack_economics"])
        joined = f"({economics}) JOIN raw USING (pack_id) JOIN plain USING (pack_id)"
        found: dict[str, Any] = connection.execute(f"SELECT {columns} FROM {joined}").fetchnumpy()
        return found


def batches(sessions: int, samples: int) -> Iterator[int]:
    """The samples in portions of about SESSIONS_AT_ONCE sessions."""
    portion = max(1, SESSIONS_AT_ONCE // sessions)
    while samples > 0:
        yield min(portion, samples)
        samples -= portion


def coverage(mix: Mix, sessions: int, samples: int) -> dict[str, Held]:
    """The coverage and mean width of each interval."""
    rng = np.random.default_rng(sessions)
    found = [intervals(drawn(rng, mix, sessions, size)) for size in batches(sessions, samples)]
    true = truth(mix.quotes)
    result = {}
    for name, (parameter, low, high) in INTERVALS.items():
        lows, highs = (
            np.concatenate([np.ma.filled(f[bound].astype(float), np.nan) for f in found]) for bound in (low, high)
        )
        given = ~np.isnan(lows)
        # Bounds and true values are rounded to doubles, so an exact comparison could fail by rounding alone.
        held = (lows <= true[parameter] * (1 + 1e-12)) & (true[parameter] * (1 - 1e-12) <= highs)
        result[name] = (
            Held(float(held[given].mean()), float((highs - lows)[given].mean())) if given.any() else Held(math.nan, 0)
        )
    return result


def beside_scipy() -> Table:
    """The largest differences between the results of the macros and of scipy, for counts of 100 to 1,000,000."""
    rng = np.random.default_rng(7)
    n = np.unique(np.geomspace(100, 1e6, 60).astype(int))
    p = rng.random(len(n))
    hits = rng.binomial(n, p)
    columns = {
        "Wilson, lower bound": "wilson_low(hits, n, z_975())",
        "Wilson, upper bound": "wilson_high(hits, n, z_975())",
        "Student's t": "t_975(n - 1)",
        "rank of a median's lower bound": "median_low_rank(n, 1 / (2 * sqrt(n)))",
        "p-value of the exact binomial test": "binomial_p_value(hits, n, p)",
    }
    with duckdb.connect() as connection:
        connection.execute(macros())
        connection.register("counts", pa.table({"n": n, "hits": hits, "p": p}))
        ours = connection.execute(f"SELECT {', '.join(columns.values())} FROM counts").fetchall()
    theirs = []
    for one_n, one_hits, one_p in zip(n, hits, p, strict=True):
        test = stats.binomtest(one_hits, one_n, one_p)
        wilson = test.proportion_ci(method="wilson")
        rank = stats.binom.ppf(0.025, one_n, 0.5)
        theirs.append((wilson.low, wilson.high, stats.t.ppf(0.975, one_n - 1), rank, test.pvalue))
    table = Table("formula", "largest difference", title=f"Beside scipy, {len(n)} counts from 100 to 1,000,000")
    for name, differences in zip(columns, np.abs(np.array(ours, float) - np.array(theirs)).T, strict=True):
        table.add_row(name, f"{differences.max():.1e}")
    return table


def main() -> None:
    factor = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    console = Console(width=110)
    console.print(beside_scipy())
    for title, mix in mixes(np.random.default_rng(20260301)).items():
        table = Table(title=f"Coverage of 95 % intervals in percent, and their mean width; {title}")
        for heading in ("sessions", "samples", *INTERVALS):
            table.add_column(heading, justify="right")
        for sessions, samples in SAMPLES.items():
            samples = round(samples * factor)
            found = coverage(mix, sessions, samples).values()
            cells = (
                "\N{EN DASH}" if math.isnan(one.share) else f"{100 * one.share:.1f}  {one.width:.3f}" for one in found
            )
            table.add_row(f"{sessions:,}", f"{samples:,}", *cells)
        console.print(table)


if __name__ == "__main__":
    main()
