"""Time that `phygitals explore` takes to open a published file and to answer a filter.

Run `python -m benchmarks.explore` from the project's root. `benchmarks.explore 100000` sets another number of pulls;
with the default of a million, most of the time is for making the history.

An answer is what the page computes when a filter changes: the figures of all selected pulls, and those of each group.
The baseline is a query of a person for the same pulls, measured in the same run: number, sum and median of the quotes
by group, straight from the published file, without multiples and intervals.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.tables import DAYS, FIRST_DAY, PULLS_A_SESSION, add_day, refresh_tables
from pipeline.explore.edition import Edition, current_edition
from pipeline.explore.figures import figures, group_count
from pipeline.explore.listing import pulls
from pipeline.explore.selection import GROUPS, Selection, options
from pipeline.publish.reading import open_for_queries
from pipeline.storage.data_directory import DataDirectory

PULLS = 1_000_000
REPEATS = 5
SELECTIONS = {
    "all pulls": (Selection(), "pack"),
    "one pack": (Selection(values={"pack_id": ("rookie-10",)}), "item type"),
    "one week": (Selection(first_day=FIRST_DAY.date(), last_day=FIRST_DAY.date().replace(day=7)), "day"),
    "one grader": (Selection(values={"grader": ("PSA",)}), "grade"),
    "one set": (Selection(values={"set_name": ("Iron Season",)}), "year of the card"),
}


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """The median time of a few repetitions, and that of the processor, which other programs disturb less."""
    found = []
    for _ in range(REPEATS):
        started, used = time.perf_counter(), time.process_time()
        work()
        found.append((time.perf_counter() - started, time.process_time() - used))
    return median(wall for wall, _ in found), median(cpu for _, cpu in found)


def answer(edition: Edition, selection: Selection, group: str) -> None:
    """What the page computes when a filter changes."""
    figures(edition.cursor(), selection)
    figures(edition.cursor(), selection, group)
    group_count(edition.cursor(), selection, group)


def baseline(data: DataDirectory, selection: Selection, group: str) -> None:
    condition, parameters = selection.condition()
    sql = f"""
        SELECT {GROUPS[group]}, count(*), sum(buyback_price_usd), median(buyback_price_usd)
        FROM (
            SELECT pulls.*, grader, concat_ws(' ', grade_number, grade_label) AS grade, category, set_name, year_number
            FROM pulls LEFT JOIN items USING (item_id)
        )
        WHERE {condition} GROUP BY 1
    """
    with open_for_queries(data.warehouse, data.memory_limit) as connection:
        connection.execute(sql, parameters or None).fetchall()


def main(count: int) -> None:
    console = Console(width=120)
    with tempfile.TemporaryDirectory() as folder:
        data = DataDirectory(Path(folder))
        data.claim("local", "http://127.0.0.1:9")
        for day in range(DAYS):
            add_day(data, day, round(count / PULLS_A_SESSION / DAYS))
        refresh_tables(data, DAYS)
        started = time.perf_counter()
        edition = current_edition(data)
        known = options(edition.cursor())
        console.print(f"opened with its {len(known.values)} filters in {time.perf_counter() - started:.1f} s")
        table = Table("selection", "pulls", "answer, s", "processor, s", "baseline, s", "ratio", "page of pulls, s")
        for name, (selection, group) in SELECTIONS.items():
            (row,) = figures(edition.cursor(), selection).rows
            took, used = seconds(lambda s=selection, g=group: answer(edition, s, g))  # type: ignore[misc]
            plain, _ = seconds(lambda s=selection, g=group: baseline(data, s, g))  # type: ignore[misc]
            listed, _ = seconds(lambda s=selection: pulls(edition.cursor(), s, ("buyback_price_usd", True), 1))  # type: ignore[misc]
            times = f"{took:.2f}", f"{used:.2f}", f"{plain:.2f}", f"{took / plain:.1f}", f"{listed:.2f}"
            table.add_row(name, f"{row[1]:,}", *times)
        console.print(table)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else PULLS)
