"""False and true alarms of the test of published odds under daily looks over 90 days, by simulation.

The pipeline's query tests each simulated pack. An alarm is a p-value below 5 % after Holm's correction over the pack's
tiers. With true odds, at most 5 % of the packs may ever raise an alarm. With changed odds, the table shows the median
number of days until the alarm. The exact binomial test, which is valid for one look only, is corrected in the same way
for comparison. A tenth as many packs are simulated with 1,000 pulls a day. `looks.py 2` simulates twice as many packs.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from pipeline.schema import TABLES
from pipeline.transform.queries import macros, query

DAYS = 90
LOOKS = (7, 14, 21, 30, 60, 90)  # days of the tests; daily exact tests would raise even more false alarms
PUBLISHED = (0.80, 0.15, 0.04, 0.01)
RICHER = (0.79, 0.15, 0.04, 0.02)  # the rarest tier twice as often as published
PACKS = 400
ALONE, TO_FIVE, TO_TEN = ({1: 1.0}, {1: 0.80, 2: 0.10, 3: 0.06, 5: 0.04}, dict.fromkeys(range(1, 11), 0.1))


class Case(NamedTuple):
    """Pulls a day, session sizes, the probability that a pull repeats its session's first tier, and the true odds."""

    pulls_a_day: int
    sizes: dict[int, float]
    resemblance: float = 0.0
    odds: tuple[float, ...] = PUBLISHED


CASES = {
    "true odds, single pulls": Case(100, ALONE),
    "true odds, sessions of 1 to 5": Case(100, TO_FIVE),
    "true odds, sessions of 1 to 10, half alike": Case(100, TO_TEN, 0.5),
    "true odds, 1,000 pulls a day": Case(1_000, ALONE),
    "1 % is 2 %, single pulls": Case(100, ALONE, 0.0, RICHER),
    "1 % is 2 %, sessions of 1 to 5": Case(100, TO_FIVE, 0.0, RICHER),
    "1 % is 2 %, sessions of 1 to 10, half alike": Case(100, TO_TEN, 0.5, RICHER),
    "1 % is 2 %, 1,000 pulls a day": Case(1_000, ALONE, 0.0, RICHER),
}


class Found(NamedTuple):
    """The shares of packs that ever raised an alarm, by the anytime-valid and by the exact test, and the median number
    of days until the former; NaN if fewer than half raised one."""

    ever: float
    ever_by_exact_test: float
    median_days: float


def drawn(rng: np.random.Generator, case: Case, packs: int) -> pa.Table:
    """Pulls with their session, day, pack and tier."""
    mean_size = sum(size * share for size, share in case.sizes.items())
    a_day = round(case.pulls_a_day / mean_size)
    size = rng.choice(list(case.sizes), packs * DAYS * a_day, p=list(case.sizes.values()))
    session = np.repeat(np.arange(len(size)), size)
    tier = rng.choice(len(case.odds), len(session), p=case.odds) + 1
    first = np.repeat(rng.choice(len(case.odds), len(size), p=case.odds) + 1, size)
    tier = np.where(rng.random(len(session)) < case.resemblance, first, tier)
    return pa.table(
        {"session": session, "day": session // a_day % DAYS, "pack": session // (a_day * DAYS), "tier": tier}
    )


def looked_at(connection: duckdb.DuckDBPyConnection, pulls: pa.Table) -> None:
    """Creates the source tables of `tier_hit_rates`, for packs with the published odds.

    Equal sessions of a day are one row of `all_days`, as in `tier_days`.
    """
    connection.execute(macros())
    connection.register("drawn", pulls)
    for name in (*TABLES["tier_hit_rates"].sources, "all_days"):
        columns = TABLES["tier_days" if name == "all_days" else name].columns
        declared = ", ".join(f'"{column.name}" {column.type}' for column in columns)
        connection.execute(f"CREATE TABLE {name} ({declared})")
    connection.execute(
        """
        INSERT INTO all_days BY NAME SELECT day::INTEGER + DATE '2026-01-01' AS answered_date, pack::VARCHAR AS pack_id,
            tier_numbers, count(*) AS session_count
        FROM (SELECT day, pack, list(tier ORDER BY tier) AS tier_numbers FROM drawn GROUP BY session, day, pack)
        GROUP BY day, pack, tier_numbers;
        INSERT INTO reference_packs BY NAME SELECT DISTINCT pack_id, true AS has_whole_tiers FROM all_days
        """
    )
    for number, share in enumerate(PUBLISHED, 1):
        connection.execute(
            "INSERT INTO reference_tiers BY NAME SELECT pack_id, $number AS tier_number, 'tier ' || $number AS tier, "
            "$number AS fmv_low_usd, 0.85 AS buyback_share, $share AS published_share FROM reference_packs",
            {"number": number, "share": share},
        )


def found(case: Case, packs: int, looks: tuple[int, ...] = LOOKS) -> Found:
    """Tests simulated packs on the days `looks`. An alarm is never withdrawn."""
    rng = np.random.default_rng(len(case.sizes) + case.pulls_a_day)
    any_time, exact = np.ones((len(looks), packs)), np.ones((len(looks), packs))
    with duckdb.connect() as connection:
        looked_at(connection, drawn(rng, case, packs))
        for at, day in enumerate(looks):
            connection.execute(
                "CREATE OR REPLACE TABLE tier_days AS FROM all_days WHERE answered_date < $day + DATE '2026-01-01'",
                {"day": day},
            )
            rows = connection.execute(
                f"SELECT pack_id::INTEGER, min(p_any_time), min(p_value) FROM ({query(TABLES['tier_hit_rates'])}) "
                "WHERE tier IS NOT NULL GROUP BY pack_id"
            ).fetchnumpy()
            pack = next(iter(rows.values()))
            any_time[at, pack], exact[at, pack] = list(rows.values())[1:]
    # The first step of Holm's correction decides whether there is any alarm.
    alarms, exact_alarms = (p * len(PUBLISHED) < 0.05 for p in (any_time, exact))
    first = np.where(alarms.any(axis=0), np.array(looks)[alarms.argmax(axis=0)], np.inf)
    median = float(np.median(first))
    return Found(
        float(alarms.any(axis=0).mean()),
        float(exact_alarms.any(axis=0).mean()),
        median if np.isfinite(median) else float("nan"),
    )


def main() -> None:
    packs = round(PACKS * (float(sys.argv[1]) if len(sys.argv) > 1 else 1.0))
    console = Console(width=110)
    table = Table(title=f"{packs} packs, tested for {DAYS} days")
    for heading in ("", "packs with an alarm", "exact test, six looks", "median day of the alarm"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, case in CASES.items():
        seen = found(case, max(20, packs // max(1, case.pulls_a_day // 100)))
        days = f"{seen.median_days:.0f}" if np.isfinite(seen.median_days) else "\N{EN DASH}"
        table.add_row(name, f"{100 * seen.ever:.1f} %", f"{100 * seen.ever_by_exact_test:.1f} %", days)
    console.print(table)


if __name__ == "__main__":
    main()
