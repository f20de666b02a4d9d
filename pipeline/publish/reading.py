"""Opens the published file for untrusted queries, which can read its tables and nothing else.

DuckDB's own restriction of file access is not enough. It exempts the open file and its write-ahead log, which
`COPY ... TO` would overwrite, and a function that turns on logging aborts the process when it meets the restriction.
Therefore only statements that read are run, and only table functions that read the catalog or generate rows.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb

from pipeline.errors import PipelineError
from pipeline.process import MEMORY_LIMIT
from pipeline.publish.warehouse import Config, attach_warehouse, open_warehouse
from pipeline.storage.spill import temporary_folder

_READS = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN, duckdb.StatementType.CREATE}
_TABLE_FUNCTIONS = re.compile(
    "duckdb_.*|pragma_.*|range|generate_series|unnest|repeat|repeat_row|summary|json_each|json_tree|"
    "icu_calendar_names|pg_timezone_names|test_all_types|test_vector_types"
)
_ALL_TABLE_FUNCTIONS = "SELECT DISTINCT lower(function_name) FROM duckdb_functions() WHERE function_type = 'table'"
_WORD = re.compile(r'"(?:[^"]|"")*"|\w+|\W')
_LEADING_COMMENTS = re.compile(r"^(?:\s|--[^\n]*\n|/\*.*?\*/)+", re.DOTALL)
_CREATE_TEMPORARY = re.compile(r"create\s+(or\s+replace\s+)?temp(orary)?\s", re.IGNORECASE)
_EXPLAIN = re.compile(r"explain\b\s*(analyze\b)?\s*(\(\s*(analyze|format)\b[^()]*\))?", re.IGNORECASE)
_CONFIG: Config = {
    "enable_external_access": False,
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "python_enable_replacements": False,
    "arrow_lossless_conversion": True,
}


class QueryError(PipelineError):
    """The statement does more than read the published tables; it was not run."""


class ValueRangeError(PipelineError):
    """A value of the result is outside the range of Python's type."""


def next_rows(cursor: duckdb.DuckDBPyConnection, limit: int | None = None) -> list[tuple[Any, ...]]:
    """The next rows of a query that was executed, up to the limit. Raises ValueRangeError and duckdb.Error."""
    try:
        return cursor.fetchall() if limit is None else cursor.fetchmany(limit)
    except OverflowError as error:
        raise ValueRangeError(
            f"the result has a value that Python cannot hold ({error}): cast its column to VARCHAR, or change the value"
        ) from error


@contextlib.contextmanager
def open_for_queries(path: Path, memory_limit: str = MEMORY_LIMIT) -> Iterator[duckdb.DuckDBPyConnection]:
    """The published file, without access to other files or the network, and with a locked configuration.

    Queries spill to the system's folder for temporary files. Raises PublishError.
    """
    with temporary_folder() as spill:
        config: Config = {**_CONFIG, "temp_directory": str(spill)}
        with open_warehouse(path, memory_limit, config) as connection:
            connection.execute("SET lock_configuration = true")
            yield connection


@contextlib.contextmanager
def attached_for_queries(
    path: Path, memory_limit: str = MEMORY_LIMIT
) -> Iterator[Callable[[], duckdb.DuckDBPyConnection]]:
    """As `open_for_queries`, in a database of its own, which a process may have for each edition of the file.

    Yields a function that makes connections, for SQL that `require_read_only` accepts: what is not temporary would be
    made in that database. Raises PublishError.
    """
    config: Config = {**_CONFIG, "enable_external_access": True, "memory_limit": memory_limit}
    with temporary_folder() as spill, duckdb.connect(config={**config, "temp_directory": str(spill)}) as connection:
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        attach_warehouse(connection, path)
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")

        def cursor() -> duckdb.DuckDBPyConnection:
            made = connection.cursor()
            made.execute("USE published")
            return made

        yield cursor


def require_read_only(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raises QueryError if the SQL does more than read, and duckdb.Error if it is not valid SQL."""
    for statement in connection.extract_statements(sql):
        _require_read_only_statement(connection, statement)
    functions = {name for (name,) in connection.execute(_ALL_TABLE_FUNCTIONS).fetchall()}
    refused = {name for name in functions if not _TABLE_FUNCTIONS.fullmatch(name)}
    words = [_word(sql[at:], kind) for at, kind in duckdb.tokenize(sql)]
    for name, next_word in zip(words, [*words[1:], ""], strict=True):
        if name in refused and next_word == "(":
            raise QueryError(f"{name}() is not allowed in queries, which read the published tables and nothing else")


def require_one_result(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raises QueryError if the SQL has a result that would not be shown: only that of the last statement is.

    A temporary table may precede the query. Raises duckdb.Error if it is not valid SQL.
    """
    results = [statement.type != duckdb.StatementType.CREATE for statement in connection.extract_statements(sql)]
    if any(results[:-1]):
        raise QueryError(
            f"the SQL has {len(results)} statements, and only the result of the last one would be shown: "
            "run one query at a time"
        )


def _require_read_only_statement(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> None:
    if statement.type == duckdb.StatementType.EXPLAIN:
        # EXPLAIN ANALYZE runs the explained statement.
        text = _LEADING_COMMENTS.sub("", statement.query)
        for explained in connection.extract_statements(_EXPLAIN.sub("", text, count=1)):
            _require_read_only_statement(connection, explained)
    elif statement.type == duckdb.StatementType.CREATE:
        # PIVOT is preceded by a statement without text, which creates a temporary type.
        text = _LEADING_COMMENTS.sub("", statement.query)
        if text and not _CREATE_TEMPORARY.match(text):
            raise QueryError("CREATE is allowed in queries for temporary objects only: use CREATE TEMP")
    elif statement.type not in _READS:
        raise QueryError(
            f"{statement.type.name} is not allowed in queries, which read the published tables and nothing else: "
            "use SELECT, FROM, WITH, PIVOT, DESCRIBE, SUMMARIZE or EXPLAIN"
        )


def _word(rest: str, kind: object) -> str:
    """The first token of the text, in lower case and without quotes; empty for a string literal."""
    found = _WORD.match(rest)
    if found is None or str(kind) == str(duckdb.token_type.string_const):
        return ""
    return found[0].strip('"').lower()
