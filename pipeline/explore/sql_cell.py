"""The SQL cell: what users ask of the published tables, under the guards of `phygitals query`."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from pipeline.explore.edition import Edition
from pipeline.explore.rows import Rows, fetched
from pipeline.publish.reading import QueryError, ValueRangeError, require_one_result, require_read_only
from pipeline.storage.error_translation import exceeds_memory

EXAMPLE = "SELECT status, count(*) AS purchases FROM purchases GROUP BY status"
ROWS_SHOWN = 1000


@dataclass(frozen=True)
class Refusal:
    """Why SQL was not run, or how it failed."""

    words: str


def answered(edition: Edition, sql: str, memory_limit: str) -> Rows | Refusal:
    """The first rows that the SQL finds, or why it finds none."""
    cursor = edition.cursor_for_users()
    if not sql.strip(" \n\t;"):
        return Refusal("The SQL is empty: give a query such as FROM item_types.")
    try:
        require_read_only(cursor, sql)
        require_one_result(cursor, sql)
        if cursor.extract_statements(sql)[-1].type == duckdb.StatementType.CREATE:
            return Refusal("The SQL returns no rows: end it with a query such as FROM item_types.")
        return fetched(cursor.execute(sql), ROWS_SHOWN)
    except (QueryError, ValueRangeError) as error:
        return Refusal(str(error))
    except duckdb.Error as error:
        return Refusal(str(exceeds_memory(error, memory_limit) or error))
