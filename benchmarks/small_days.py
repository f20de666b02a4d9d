"""Seconds of a run with 20 new sessions on a long history of small days, with and without copies of months.

Run `python -m benchmarks.small_days` from the project's root; `--days 1000` sets another history. The baseline reads
each day of each table by itself, in the same directory, before the first copy is made.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.tables import add_day, fresh, refresh_tables
from pipeline.storage.data_directory import DataDirectory
from pipeline.transform import whole_tables

SESSIONS_A_DAY = 20
DAYS = 300


def refreshed(data: DataDirectory, day: int) -> float:
    """Adds a day, updates and publishes all tables, and returns the seconds for the latter."""
    add_day(data, day, SESSIONS_A_DAY)
    started = time.perf_counter()
    refresh_tables(data, day)
    return time.perf_counter() - started


def measured(folder: Path, days: int) -> Table:
    """The seconds of a run without copies, of the run that makes them, and of the next one."""
    data, least_parts = fresh(folder), whole_tables.LEAST_PARTS
    for day in range(days):
        add_day(data, day, SESSIONS_A_DAY)
    whole_tables.LEAST_PARTS = sys.maxsize
    refresh_tables(data, days)
    seconds = {"every day by itself": refreshed(data, days)}
    whole_tables.LEAST_PARTS = least_parts
    seconds["the first with copies of months"] = refreshed(data, days + 1)
    seconds["the next with copies of months"] = refreshed(data, days + 2)
    table = Table(title=f"A run with {SESSIONS_A_DAY} new sessions after {days:,} days of as many")
    table.add_column("the run reads")
    for heading in ("seconds", "ratio"):
        table.add_column(heading, justify="right")
    baseline = next(iter(seconds.values()))
    for name, took in seconds.items():
        table.add_row(name, f"{took:.1f}", f"{took / baseline:.2f}")
    return table


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=DAYS)
    days = parser.parse_args().days
    with tempfile.TemporaryDirectory() as folder:
        Console(width=120).print(measured(Path(folder), days))


if __name__ == "__main__":
    main()
