"""Connections to the PostgreSQL database that has session ids, and its errors in one line for people."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from pipeline.errors import PipelineError

if TYPE_CHECKING:
    import psycopg

# Seconds. A connection that is silent without reason is given up after half a minute.
_PARAMETERS = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds
    "application_name": "phygitals-pipeline",
}
_LOCK_TIMEOUT = 10  # seconds, for a table that somebody alters
# Read as text: times because Python's types lack some, such as infinity, and UUIDs because they are stored as text.
_TEXT = ("timestamptz", "timestamp", "date", "uuid")
_INSTALL = "the package psycopg is missing: run `pip install 'phygitals-pipeline[postgres]'`"
_URL = "PHYGITALS_SUBMISSIONS_URL"
_QUERY = "PHYGITALS_SUBMISSIONS_QUERY"
_CREDENTIALS = re.compile(r"//[^@/]*?:([^@/]*)@")
_PARAMETER = re.compile(r"[?&](?:ssl)?password=([^&#]*)", re.IGNORECASE)
_SHORT = 4  # characters; a shorter secret is matched as a whole word, because other text may contain it


class DatabaseError(PipelineError):
    """The database could not be read. The message is the reason and the remedy; the caller names the database."""


def place_of(url: str) -> dict[str, str]:
    """Host, port and database of the URL, as far as it names them: what says which database it is.

    Raises DatabaseError.
    """
    from_url = _driver().conninfo.conninfo_to_dict
    with _explained(url):
        found = from_url(url)
    return {name: str(found[name]) for name in ("host", "hostaddr", "port", "dbname", "service") if name in found}


@contextlib.contextmanager
def opened(url: str, statement_timeout: int) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """A connection in a transaction that only reads, and sees one state of the data, with times in UTC and in ISO 8601.

    `statement_timeout` is in seconds. Errors of the database within the block end in a DatabaseError without secrets.
    """
    psycopg = _driver()
    with _explained(url, statement_timeout):
        parameters = {**_PARAMETERS, **psycopg.conninfo.conninfo_to_dict(url)}
        # Poolers that share connections keep no prepared statements.
        with psycopg.connect(prepare_threshold=None, **parameters) as connection:
            connection.read_only = True
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            for name in _TEXT:
                connection.adapters.register_loader(name, psycopg.types.string.TextLoader)
            # Without an encoding, text comes as bytes, which the rules of a row decode.
            if connection.info.parameter_status("server_encoding") != "SQL_ASCII":
                connection.execute("SET LOCAL client_encoding = 'UTF8'")
            connection.execute(
                f"SET LOCAL statement_timeout = '{statement_timeout}s'; SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}s'; "
                "SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, YMD'"
            )
            yield connection


def _driver() -> Any:
    """The package psycopg, which only those need to have installed who use a database."""
    try:
        import psycopg.conninfo
        import psycopg.types.string
    except ImportError:  # also raised where the package is there and the library libpq is not
        raise DatabaseError(_INSTALL) from None
    return psycopg


@contextlib.contextmanager
def _explained(url: str, statement_timeout: int = 0) -> Iterator[None]:
    """Turns errors of the database into a DatabaseError.

    From None: the original error may have the URL in its text or in the frames of its traceback.
    """
    psycopg = _driver()
    try:
        yield
    except psycopg.Error as error:
        words = without_secrets(" ".join((error.diag.message_primary or str(error)).split()), url)
        raise DatabaseError(_reason(psycopg.errors, error, words, statement_timeout)) from None
    except UnicodeDecodeError:
        raise DatabaseError("it has text that is not in the database's encoding; correct the text") from None


def _reason(errors: Any, error: Exception, words: str, statement_timeout: int) -> str:
    if isinstance(error, errors.LockNotAvailable):
        return f"a table stayed locked for {_LOCK_TIMEOUT} s; end the transaction that holds the lock"
    if isinstance(error, errors.QueryCanceled):
        return (
            f"{words} (the longest time allowed is {statement_timeout} s); index the column of the cursor, or simplify "
            f"{_QUERY}"
        )
    if isinstance(error, errors.InsufficientPrivilege):
        return f"{words}; grant SELECT to the role in {_URL}"
    if getattr(error, "sqlstate", None) is None:  # found by the client: no connection, or none any more
        return f"{words}; check {_URL} and the server"
    if isinstance(error, errors.OperationalError):  # found by the server, such as its shutdown
        return f"{words}; check the server"
    return f"{words}; correct {_QUERY}"


def without_secrets(text: str, url: str) -> str:
    """The text without the URL and its passwords, however they are encoded, and without that in PGPASSWORD."""
    found = [url, *_CREDENTIALS.findall(url), *_PARAMETER.findall(url), os.environ.get("PGPASSWORD", "")]
    forms = {form for secret in found for form in (secret, unquote(secret), quote(unquote(secret), safe="")) if form}
    longest_first = sorted(forms, key=len, reverse=True)
    patterns = [
        re.escape(form) if len(form) >= _SHORT else rf"(?<!\w){re.escape(form)}(?!\w)" for form in longest_first
    ]
    return re.sub("|".join(patterns), "[redacted]", text, flags=re.IGNORECASE) if patterns else text
