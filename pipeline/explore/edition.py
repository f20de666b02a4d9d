"""One edition of the published file: opened once, and unchanged while a run publishes the next one."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator
from importlib.resources import files

import duckdb

from pipeline.explore import ExploreError
from pipeline.publish.reading import attached_for_queries
from pipeline.publish.warehouse import Config, attach_warehouse
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.error_translation import exceeds_memory
from pipeline.storage.objects import first_line
from pipeline.storage.spill import temporary_folder
from pipeline.transform.queries import run

_ATTEMPTS = 3
# By the address of the data: all editions in use, and the latest one, for the sessions to come.
_opened: weakref.WeakValueDictionary[tuple[str, str], Edition] = weakref.WeakValueDictionary()
_latest: dict[str, Edition] = {}
_opening = threading.Lock()


class Edition:
    """The published file as it was when it was opened. It is closed when nobody refers to it any more.

    Our own queries read the file's tables and `explored.pulls`, which has a row per pull with what filters need; see
    `pulls.sql`. The SQL of users has a database of its own, in which it can read the file's tables and nothing else.
    """

    def __init__(self, data: DataDirectory, etag: str) -> None:
        """Use `current_edition`. Raises PublishError, ExploreError and MemoryLimitError."""
        self._data = data
        self.etag = etag
        with _explained(data), contextlib.ExitStack() as stack:
            self._for_users = stack.enter_context(attached_for_queries(data.warehouse, data.memory_limit))
            self._own = stack.enter_context(_with_pulls(data))
            weakref.finalize(self, stack.pop_all().close)

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection for our own queries, with times in UTC. One thread may use it at a time."""
        cursor = self._own.cursor()
        cursor.execute("USE published")
        return cursor

    def cursor_for_users(self) -> duckdb.DuckDBPyConnection:
        """A connection for SQL that `require_read_only` accepts, without access to files and the network."""
        return self._for_users()

    def is_outdated(self) -> bool:
        """Whether another file was published since. Raises StoreError."""
        return _etag(self._data) not in ("", self.etag)


def current_edition(data: DataDirectory) -> Edition:
    """The published file as it is now; sessions of one process share it.

    With a lake in an object store, it is downloaded first if it has changed. Raises PublishError, ExploreError
    and StoreError.
    """
    with _opening:
        for _ in range(_ATTEMPTS):  # a run may publish meanwhile
            etag = _etag(data)
            edition = _opened.get((data.address, etag)) or _open(data, etag)
            if not edition.is_outdated():
                break
        _opened[data.address, etag] = _latest[data.address] = edition
        return edition


@contextlib.contextmanager
def _explained(data: DataDirectory) -> Iterator[None]:
    """Raises ExploreError for a published file that lacks what the page needs, MemoryLimitError for one too large."""
    try:
        yield
    except duckdb.Error as error:
        raise exceeds_memory(error, data.memory_limit) or ExploreError(
            f"{data.warehouse} cannot be explored: {first_line(error)}; "
            "run `phygitals refresh`, which publishes it again"
        ) from error


@contextlib.contextmanager
def _with_pulls(data: DataDirectory) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with the published file and `explored.pulls`."""
    pulls = files(__package__).joinpath("pulls.sql").read_text(encoding="utf-8")
    with temporary_folder() as spill:
        config: Config = {"memory_limit": data.memory_limit, "temp_directory": str(spill)}
        with duckdb.connect(config=config) as connection:
            connection.execute("SET GLOBAL TimeZone = 'UTC'")
            # It evaluates the conditions of all readers of a common table expression for each of its rows, which takes
            # a sixth of the time of `figures`.
            connection.execute("SET GLOBAL disabled_optimizers = 'cte_filter_pusher'")
            attach_warehouse(connection, data.warehouse)
            connection.execute("ATTACH ':memory:' AS explored")
            connection.execute("SET enable_external_access = false")
            with connection.cursor() as cursor:
                cursor.execute("USE published")
                run(cursor, f"CREATE TABLE explored.pulls AS {pulls}")
            yield connection


def _open(data: DataDirectory, etag: str) -> Edition:
    data.current(data.warehouse)
    return Edition(data, etag)


def _etag(data: DataDirectory) -> str:
    found = data.storage.find(data.warehouse.name)
    return found.etag if found else ""
