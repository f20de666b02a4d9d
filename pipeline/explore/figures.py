"""The figures of selected pulls, each with its n and its interval, by the rules of the published tables."""

from __future__ import annotations

import functools
from importlib.resources import files

import duckdb

from pipeline.explore.rows import Rows, fetched
from pipeline.explore.selection import GROUPS, Selection
from pipeline.transform.queries import run

GROUPS_SHOWN = 1000

# The value at a rank among the quotes or multiples of a group: counted to by bins, and sorted in the bin that has it.
_VALUES_AT = """
located_{ranks} AS (
    SELECT wanted.*, min(bin) AS bin, arg_min(up_to - pulls, bin) AS below
    FROM {ranks} AS wanted JOIN bins
        ON bins.group_value IS NOT DISTINCT FROM wanted.group_value AND bins.measure = wanted.measure AND up_to >= rank
    GROUP BY ALL
),
values_at_{ranks} AS (
    SELECT group_value, measure, rank, list_sort(list(value))[rank - any_value(below)] AS value
    FROM (
        SELECT located.*, buyback_price_usd::DOUBLE AS value FROM selected JOIN located_{ranks} AS located
            ON located.group_value IS NOT DISTINCT FROM selected.group_value AND located.bin = quote_bin
        WHERE measure = 'quote' AND buyback_price_usd IS NOT NULL
        UNION ALL
        SELECT located.*, multiple FROM selected JOIN located_{ranks} AS located
            ON located.group_value IS NOT DISTINCT FROM selected.group_value AND located.bin = multiple_bin
        WHERE measure = 'multiple' AND multiple IS NOT NULL
    )
    GROUP BY group_value, measure, rank
)"""


def figures(cursor: duckdb.DuckDBPyConnection, selection: Selection, group: str | None = None) -> Rows:
    """One row of figures per value of a group of `GROUPS`, most pulls first, or one row for all selected pulls.

    Of more than `GROUPS_SHOWN` values, those with the most pulls. Raises duckdb.Error.
    """
    condition, parameters = selection.condition()
    column = GROUPS[group] if group else "NULL"
    if group:
        condition = f"""{condition} AND coalesce({column}::VARCHAR, chr(0)) IN (
            SELECT coalesce({column}::VARCHAR, chr(0)) FROM explored.pulls WHERE {condition}
            GROUP BY ALL ORDER BY count(*) DESC, 1 LIMIT {GROUPS_SHOWN})"""
    sql = _sql().replace("{{ group }}", column).replace("{{ condition }}", condition)
    found = fetched(run(cursor, sql, parameters or None))
    name = group or "pulls"
    rows = Rows((name, *found.names[1:]), found.rows)
    return rows.sorted_by("pull_count", is_descending=True)


def group_count(cursor: duckdb.DuckDBPyConnection, selection: Selection, group: str) -> int:
    """The number of values of a group among the selected pulls, the unknown one included."""
    condition, parameters = selection.condition()
    sql = f"SELECT count(*) FROM (SELECT DISTINCT {GROUPS[group]} FROM explored.pulls WHERE {condition})"
    return int(cursor.execute(sql, parameters or None).fetchall()[0][0])


@functools.cache
def _sql() -> str:
    sql = files(__package__).joinpath("figures.sql").read_text(encoding="utf-8")
    for ranks in ("middle", "bounds"):
        sql = sql.replace(f"{{{{ values_at {ranks} }}}}", _VALUES_AT.format(ranks=ranks).strip())
    return sql
