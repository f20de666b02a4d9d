"""The published file for queries that nobody has looked at: they read its tables and reach nothing else.

DuckDB's own lock on file access is not enough. It exempts the file that is open and its write-ahead log, which
`COPY ... TO` would overwrite, and it ends the whole process where a function that turns on logging runs into it. So a
statement is run only where it is of a kind that reads, and calls only such table functions as read the catalog or
make up rows.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import duckdb

from pipeline.errors import PipelineError
from pipeline.publish.warehouse import Config, open_warehouse
from pipeline.storage.spill import temporary_folder

_READS = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN, duckdb.StatementType.CREATE}
_TABLE_FUNCTIONS = re.compile(
    "duckdb_.*|pragma_.*|range|generate_series|unnest|repeat|repeat_row|summary|json_each|json_tree|"
    "icu_calendar_names|pg_timezone_names|test_all_types|test_vector_types"
)
_ALL_TABLE_FUNCTIONS = "SELECT DISTINCT lower(function_name) FROM duckdb_functions() WHERE function_type = 'table'"
_WORD = re.compile(r'"(?:[^"]|"")*"|\w+|\W')
_EXPLAIN = re.compile(r"explain\b\s*(analyze\b)?\s*(\(\s*(analyze|format)\b[^()]*\))?", re.IGNORECASE)
_CONFIG: Config = {
    "enable_external_access": False,
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "python_enable_replacements": False,
    "arrow_lossless_conversion": True,
}


class QueryError(PipelineError):
    """The statement does more than read the published tables. It was not run."""


@contextlib.contextmanager
def open_for_queries(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """The published file without access to other files or to the network, and with its configuration locked.

    What a query puts aside goes to the system's folder for temporary files. Raises PublishError.
    """
    with temporary_folder() as spill, open_warehouse(path, {**_CONFIG, "temp_directory": str(spill)}) as connection:
        connection.execute("SET lock_configuration = true")
        yield connection


def refuse_what_does_not_read(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Raises QueryError for SQL that is not to be run, and duckdb.Error for what is not SQL."""
    for statement in connection.extract_statements(sql):
        _refuse_kind(connection, statement)
    functions = {name for (name,) in connection.execute(_ALL_TABLE_FUNCTIONS).fetchall()}
    refused = {name for name in functions if not _TABLE_FUNCTIONS.fullmatch(name)}
    words = [_word(sql[at:], kind) for at, kind in duckdb.tokenize(sql)]
    for name, what_follows in zip(words, [*words[1:], ""], strict=True):
        if name in refused and what_follows == "(":
            raise QueryError(f"{name}() is not for queries, which read the published tables and nothing else")


def _refuse_kind(connection: duckdb.DuckDBPyConnection, statement: duckdb.Statement) -> None:
    if statement.type == duckdb.StatementType.EXPLAIN:
        # EXPLAIN ANALYZE runs what it explains.
        text = "".join(re.split(r"^(?:\s|--[^\n]*\n|/\*.*?\*/)+", statement.query, flags=re.DOTALL))
        for explained in connection.extract_statements(_EXPLAIN.sub("", text, count=1)):
            _refuse_kind(connection, explained)
    elif statement.type not in _READS:
        raise QueryError(
            f"{statement.type.name} is not for queries, which read the published tables and nothing else: "
            "give a SELECT, FROM, WITH, PIVOT, DESCRIBE, SUMMARIZE or EXPLAIN"
        )


def _word(rest: str, kind: object) -> str:
    """The token that the text begins with, as names are compared; nothing for text in quotes."""
    found = _WORD.match(rest)
    if found is None or str(kind) == str(duckdb.token_type.string_const):
        return ""
    return found[0].strip('"').lower()
