"""The types of the settings' values: what each accepts, and the words with which it refuses the rest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from croniter import CroniterError, croniter
from pydantic import AfterValidator, Field, SecretStr

from pipeline.network import is_loopback, parsed

if TYPE_CHECKING:
    from httpx import URL

_LEAST_MEMORY = 250_000_000  # bytes; with less, tables of a small history fail
_BYTES = {
    f"{prefix}{unit}": base**power
    for unit, base in (("b", 1000), ("ib", 1024))
    for power, prefix in enumerate("kmgt", start=1)
}


def _valid_url(value: str) -> str:
    try:
        url = parsed(value)
    except ValueError:
        url = None
    if url is None or url.userinfo or "?" in value or "#" in value:
        raise ValueError("use a base URL such as https://api.phygitals.com")
    if not _is_guarded(url):
        raise ValueError("use https, or plain http to a loopback address such as http://127.0.0.1:8000")
    return value.rstrip("/")


def _is_guarded(url: URL) -> bool:
    return url.scheme == "https" or (url.scheme == "http" and is_loopback(url.host))


def is_allowed_endpoint(value: str) -> bool:
    try:
        url = parsed(value)
    except ValueError:
        return False
    return _is_guarded(url) and not url.userinfo


def _valid_lake(value: str) -> str:
    found = re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^/?#@\\\s]+)*/?", value)
    if not found or any(part in (".", "..") for part in value.split("/")):
        raise ValueError("use s3://bucket/prefix; endpoint and credentials come from the AWS_* variables")
    return value.rstrip("/")


def _valid_prefix(value: str) -> str:
    if not value.strip("/"):
        return ""
    if any(c in value for c in "?# \t") or not value.isprintable():
        raise ValueError("use a path such as /api/v1")
    return "/" + value.strip("/")


def _valid_webhook(value: SecretStr) -> SecretStr:
    try:
        is_allowed = _is_guarded(parsed(value.get_secret_value()))
    except ValueError:
        is_allowed = False
    if not is_allowed:
        raise ValueError("use an https URL, or plain http to a loopback address")
    return value


def _valid_key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError("use printable ASCII characters without white space")
    return value


def _valid_database_url(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    scheme, separator, rest = text.partition("://")
    # Otherwise a part of the password could be taken for a host, and be shown in an error of the driver.
    credentials = rest.rpartition("@")[0]
    if (
        scheme not in ("postgresql", "postgres")
        or not separator
        or any(sign in credentials for sign in "@/?#")
        or not text.isprintable()
        or " " in text
    ):
        raise ValueError(
            "use postgresql://user:password@host:5432/database, with each of @ : / ? # % in a password "
            "percent-encoded, @ as %40"
        )
    return value


def _valid_query(value: str) -> str:
    query = value.strip().rstrip(";").rstrip()
    if not query:
        raise ValueError("use a query such as SELECT session_id, created_at AS cursor FROM purchases")
    return query


def _valid_cron(value: str) -> str:
    try:
        fields = value.split()
        if len(fields) == 5 and "w" not in fields[2].lower():  # nearest weekdays, which Dagster does not support
            croniter(value).get_next()  # fails for days that never occur, such as 30 February
            return value
    except CroniterError:
        pass
    raise ValueError("use a cron expression of five fields such as '0 2 * * *'")


def _valid_memory(value: str) -> str:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?b)\s*", value, re.ASCII | re.IGNORECASE)
    if not found or float(found[1]) * _BYTES[found[2].lower()] < _LEAST_MEMORY:
        raise ValueError(f"use a size such as 2GB or 500MB, at least {_LEAST_MEMORY // 10**6}MB")
    return value.strip()


Seconds = Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)]
SecondsOrNever = Annotated[float, Field(ge=0, le=3_153_600_000, allow_inf_nan=False)]
BaseUrl = Annotated[str, AfterValidator(_valid_url)]
ApiKey = Annotated[SecretStr, AfterValidator(_valid_key)]
LakeUrl = Annotated[str, AfterValidator(_valid_lake)]
DatabaseUrl = Annotated[SecretStr, AfterValidator(_valid_database_url)]
Query = Annotated[str, AfterValidator(_valid_query)]
WebhookUrl = Annotated[SecretStr, AfterValidator(_valid_webhook)]
PathPrefix = Annotated[str, AfterValidator(_valid_prefix)]
Cron = Annotated[str, AfterValidator(_valid_cron)]
MemorySize = Annotated[str, AfterValidator(_valid_memory)]
