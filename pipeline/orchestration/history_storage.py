"""Where Dagster keeps its run history, opened for reading without Dagster: SQLite files, or a PostgreSQL database.

The dependencies pin Dagster's version, and so the tables. Nothing is started and nothing is written.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote

from pipeline.errors import PipelineError
from pipeline.settings import PROJECT_ROOT
from pipeline.sources.postgres_connection import without_secrets

_STORAGES = ("storage", "run_storage", "event_log_storage", "schedule_storage")
_BUSY_SECONDS = 2.0
_CONNECT_SECONDS = 5
_OPTIONS = "-c default_transaction_read_only=on -c statement_timeout=10000 -c timezone=UTC"
# As SQLAlchemy reads it, by which Dagster connects: name and password may have characters that libpq wants escaped.
_URL = re.compile(
    r"postgres(?:ql)?(?:\+\w+)?://(?:(?P<user>[^:/]*)(?::(?P<password>[^@]*))?@)?(?P<place>.*)", re.DOTALL
)
_PARAMETER = re.compile(r"\$(\w+)")
_NOTHING: Mapping[str, object] = {}


class HistoryUnknownError(PipelineError):
    """There is no history that can be read. The message is the reason."""


class HistoryStorage(Protocol):
    """Queries on Dagster's tables. Their parameters are `$name`."""

    def runs(self, sql: str, values: Mapping[str, object] = _NOTHING) -> list[tuple[Any, ...]]:
        """Rows of a query on runs, their tags and the daemon's reports."""

    def events(self, run_id: str, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query on the events of the run `$run_id`."""

    def schedules(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of a query on schedules and sensors."""


@contextmanager
def opened_history(environment: str) -> Iterator[HistoryStorage]:
    """The history of an environment, as `dagster.yaml` in DAGSTER_HOME says. Raises HistoryUnknownError."""
    home = Path(os.environ.get("DAGSTER_HOME") or PROJECT_ROOT / "dagster_home")
    configuration = home / "dagster.yaml"
    configured = _configured(configuration)
    if url := _postgres_url(configured, configuration):
        with _opened_database(url, configuration) as storage:
            yield storage
        return
    if configured:
        raise HistoryUnknownError(f"{configuration} keeps the run history in another storage; the Dagster UI shows it")
    folder = home / environment
    if not (folder / "history" / "runs.db").is_file():
        raise HistoryUnknownError(f"there is no run history in {folder}")
    try:
        yield _Files(folder)
    except (sqlite3.Error, OSError, ValueError, KeyError) as error:
        raise HistoryUnknownError(f"the run history in {folder} cannot be read: {error}") from error


class _Files:
    """The files of Dagster's default storage, in one folder for each environment; see `EnvironmentInstance`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def runs(self, sql: str, values: Mapping[str, object] = _NOTHING) -> list[tuple[Any, ...]]:
        return self._rows("history/runs.db", sql, values)

    def events(self, run_id: str, sql: str) -> list[tuple[Any, ...]]:
        return self._rows(f"history/runs/{run_id}.db", sql, {"run_id": run_id})

    def schedules(self, sql: str) -> list[tuple[Any, ...]]:
        return self._rows("schedules/schedules.db", sql, _NOTHING)

    def _rows(self, name: str, sql: str, values: Mapping[str, object]) -> list[tuple[Any, ...]]:
        path = self._folder / name
        if not path.is_file():
            return []
        # Without a write-ahead log nobody has the file open, and none is made.
        is_open_elsewhere = path.with_name(f"{path.name}-wal").exists()
        mode = "mode=ro" if is_open_elsewhere else "mode=ro&immutable=1"
        with closing(sqlite3.connect(f"{path.as_uri()}?{mode}", uri=True, timeout=_BUSY_SECONDS)) as connection:
            return connection.execute(sql, values).fetchall()


class _Database:
    """The tables of Dagster's storage in PostgreSQL, all in one database."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def runs(self, sql: str, values: Mapping[str, object] = _NOTHING) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._connection.execute(_PARAMETER.sub(r"%(\1)s", sql), values).fetchall()
        return found

    def events(self, run_id: str, sql: str) -> list[tuple[Any, ...]]:
        return self.runs(sql, {"run_id": run_id})

    def schedules(self, sql: str) -> list[tuple[Any, ...]]:
        return self.runs(sql)


@contextmanager
def _opened_database(url: str, configuration: Path) -> Iterator[HistoryStorage]:
    try:
        import psycopg
    except ImportError:  # also raised where the package is there and the library libpq is not
        raise HistoryUnknownError(
            f"{configuration} keeps the run history in PostgreSQL, which needs the package psycopg: install "
            "phygitals-pipeline[distributed]"
        ) from None
    try:
        connected = psycopg.connect(
            url,
            connect_timeout=_CONNECT_SECONDS,
            options=_OPTIONS,
            # Without it, text of a database whose encoding is SQL_ASCII comes as bytes, which equal no word.
            client_encoding="UTF8",
            cursor_factory=psycopg.ClientCursor,
        )
        with connected as connection:
            yield _Database(connection)
    except (psycopg.Error, ValueError, KeyError) as error:
        # From None: the original error may have the URL in its text or in the frames of its traceback.
        words = without_secrets(" ".join(str(error).split()), url)
        raise HistoryUnknownError(f"the run history in PostgreSQL cannot be read: {words}") from None


def _configured(configuration: Path) -> dict[str, Any]:
    """What the configuration says of storages; empty without any."""
    import yaml  # Dagster's own parser of this file

    try:
        found = yaml.safe_load(configuration.read_text(errors="replace"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise HistoryUnknownError(
            f"{configuration} cannot be read: {error.strerror}; correct its permissions"
        ) from error
    except yaml.YAMLError as error:
        # From None, and without the parser's words: they repeat lines, which may have a password.
        mark = getattr(error, "problem_mark", None)
        place = f", first in line {mark.line + 1}" if mark else ""
        raise HistoryUnknownError(f"{configuration} is not valid YAML{place}: correct it") from None
    return {name: found[name] for name in _STORAGES if found.get(name)} if isinstance(found, dict) else {}


def _postgres_url(configured: dict[str, Any], configuration: Path) -> str | None:
    """The URL of a database with the whole history, in the form of libpq; None if the history is elsewhere."""
    try:
        url = configured["storage"]["postgres"]["postgres_url"]
    except (KeyError, TypeError):
        return None
    if isinstance(url, dict):
        variable = str(url.get("env"))
        url = os.environ.get(variable)
        if not url:
            raise HistoryUnknownError(
                f"{configuration} takes the address of the run history from {variable}, which is not set: set it to "
                "the same value as for Dagster"
            )
    found = _URL.fullmatch(str(url))
    if found is None:
        return str(url)
    secrets = [quote(unquote(part), safe="") for part in (found["user"], found["password"]) if part is not None]
    return f"postgresql://{':'.join(secrets)}{'@' if secrets else ''}{found['place']}"
