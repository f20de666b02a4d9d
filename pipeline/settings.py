"""Settings: every environment variable that the pipeline reads, validated in one place.

This module has the user's settings only; constants of the API and of the algorithms are in the modules that use them.
"""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, get_args

from annotated_types import Ge, Gt, Le
from dotenv.parser import Binding, parse_stream
from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.errors import PipelineError
from pipeline.network import check, is_loopback, parsed
from pipeline.process import MEMORY_LIMIT
from pipeline.setting_types import (
    ApiKey,
    BaseUrl,
    Cron,
    DatabaseUrl,
    LakeUrl,
    MemorySize,
    PathPrefix,
    Query,
    Seconds,
    SecondsOrNever,
    WebhookUrl,
    is_allowed_endpoint,
)

_CODE = Path(__file__).resolve().parent.parent
# The clone that the package is used from; None for an installed package.
CLONE = _CODE if (_CODE / "pyproject.toml").is_file() else None
# The folder of `.env`, `data` and `dagster_home`: the clone, or the working directory of an installed package.
PROJECT_ROOT = CLONE or Path.cwd()

Environment = Literal["local", "sandbox", "production"]

_DEFAULT_URLS: dict[str, str] = {
    "sandbox": "https://api.phygitals.com/_",
    "production": "https://api.phygitals.com",
}
_ALIKE = 0.85  # of two names, one of which is misspelled; 1 is equality
_DEFAULT_REQUESTS_PER_SECOND = {"local": 0.0, "sandbox": 25.0, "production": 25.0}


class SettingsError(PipelineError):
    """A variable has an invalid value, or a required variable is missing."""


def _absolute(value: Path) -> Path:
    try:
        return (PROJECT_ROOT / value.expanduser()).resolve()
    except RuntimeError:
        raise ValueError("use a path; there is no home directory of that name") from None


_Folder = Annotated[Path, AfterValidator(_absolute)]


class EnvironmentSetting(BaseSettings):
    """The environment. Separate from the other settings, because run history is kept even if those are invalid."""

    model_config = SettingsConfigDict(
        env_prefix="PHYGITALS_", env_ignore_empty=True, env_file_encoding="utf-8-sig", extra="ignore", frozen=True
    )

    env: Annotated[Environment, Field(description="`local` (the bundled simulator), `sandbox` or `production`")] = (
        "local"
    )

    @classmethod
    def name(cls, env_file: Path | None = None) -> str:
        """The environment, or `unknown` if the setting is invalid."""
        try:
            return EnvironmentSetting(_env_file=_dotenv(env_file)).env  # type: ignore[call-arg]
        except (SettingsError, ValidationError):
            return "unknown"


class WebhookSettings(EnvironmentSetting):
    """The recipient of failure notifications. Separate, because invalid settings may be the failure."""

    failure_webhook: Annotated[
        WebhookUrl | None,
        Field(
            description="URL for notifications of failed runs; https, or plain http to a loopback address; never "
            "logged or shown"
        ),
    ] = None

    @classmethod
    def failure_webhook_url(cls, env_file: Path | None = None) -> str | None:
        """The URL in clear text, only for posting: the URL is a secret. None if unset or invalid."""
        try:
            webhook = WebhookSettings(_env_file=_dotenv(env_file)).failure_webhook  # type: ignore[call-arg]
        except (SettingsError, ValidationError):
            return None
        return webhook.get_secret_value() if webhook else None


class Settings(WebhookSettings):
    """The validated settings. Durations are seconds; rates are requests per second.

    Use `load`, which turns pydantic's errors into one line for people.
    """

    api_url: Annotated[BaseUrl | None, Field(description="base URL; https, or plain http to a loopback address")] = None
    api_prefix: Annotated[PathPrefix, Field(description="path before `/vm/buy/status`")] = "/api/v1"
    api_key: Annotated[ApiKey | None, Field(description="required outside `local`; never logged, shown or stored")] = (
        None
    )
    data_dir: Annotated[
        _Folder | None,
        Field(description="the data directory; the first `submit` or `refresh` binds it to one environment and URL"),
    ] = None
    lake_url: Annotated[
        LakeUrl | None,
        Field(
            description="`s3://bucket/prefix`: the data are in this object store, and the data directory is a working "
            "copy"
        ),
    ] = None
    max_concurrency: Annotated[
        int,
        Field(
            ge=1,
            le=10_000,
            description="requests in flight; the API holds a pending call for about 6 s, so 25 requests a second need "
            "150",
        ),
    ] = 160
    requests_per_second: Annotated[
        float | None,
        Field(
            ge=0,
            le=100_000,
            allow_inf_nan=False,
            description="ceiling of the whole run in any one second; 2.5 is used as 2, and 0.5 as one request in two "
            "seconds; 0 = no ceiling",
        ),
    ] = None
    request_timeout: Annotated[Seconds, Field(description="seconds for one request")] = 30.0
    poll_budget: Annotated[
        Seconds,
        Field(description="seconds for which a run polls; unresolved sessions stay pending for the next run"),
    ] = 900.0
    poll_interval: Annotated[
        float,
        Field(
            gt=0,
            le=60,
            allow_inf_nan=False,
            description="seconds before a pending session is polled again; grows by backoff with jitter up to 60, but "
            "not after a call that the API held for that long",
        ),
    ] = 2.0
    expire_after: Annotated[
        SecondsOrNever,
        Field(description="seconds after submission at which an unresolved session expires; 0 = never"),
    ] = 604_800.0
    daily_cron: Annotated[Cron, Field(description="the daily schedule, UTC")] = "0 2 * * *"
    poll_shards: Annotated[
        int,
        Field(
            ge=1,
            le=256,
            description="processes that share the polling, its ceiling and its requests in flight",
        ),
    ] = 1
    rebuild_processes: Annotated[
        int,
        Field(
            ge=1,
            le=256,
            description="processes that share the rebuild of a long history, each with its own memory limit",
        ),
    ] = 1
    keep_run_days: Annotated[
        int, Field(ge=1, le=36_500, description="days after which runs are removed from Dagster's history")
    ] = 30
    publish_days: Annotated[
        int,
        Field(
            ge=0,
            le=36_500,
            description="UTC days in the published file, counted back from the day of the run; 0 = all. The lake "
            "always has all days",
        ),
    ] = 0
    memory_limit: Annotated[
        MemorySize,
        Field(
            description="memory that DuckDB may use, such as `2GB` or `500MB`, at least 250MB; Arrow and Python need "
            "more beside it, up to 0.8 GB at 50 million pulls"
        ),
    ] = MEMORY_LIMIT
    digest_webhook: Annotated[
        WebhookUrl | None,
        Field(
            description="URL for one message a day about the published data, after the daily refresh; https, or plain "
            "http to a loopback address; never logged or shown"
        ),
    ] = None
    submissions_url: Annotated[
        DatabaseUrl | None,
        Field(
            description="`postgresql://user:password@host:5432/database`, a database with session ids; never logged, "
            "shown or stored"
        ),
    ] = None
    submissions_query: Annotated[
        Query | None,
        Field(
            description="the query for session ids in the database of `PHYGITALS_SUBMISSIONS_URL`, with a column "
            "`cursor`; set both or neither"
        ),
    ] = None

    @property
    def base_url(self) -> str | None:
        """The API's base URL; None in `local` without a URL, where the bundled simulator is started."""
        return self.api_url or _DEFAULT_URLS.get(self.env)

    @property
    def api(self) -> str:
        """The API to which a data directory is bound: the base URL, or the bundled simulator without one."""
        return self.base_url or "the bundled simulator"

    @property
    def rate_ceiling(self) -> float:
        """Requests per second over the whole run; 0 means no ceiling."""
        if self.requests_per_second is None:
            return _DEFAULT_REQUESTS_PER_SECOND[self.env]
        return self.requests_per_second

    @property
    def data_directory(self) -> Path:
        return self.data_dir or PROJECT_ROOT / "data" / self.env

    @property
    def secret(self) -> str | None:
        """The API key in clear text, only for the request header and for redaction."""
        return self.api_key.get_secret_value() if self.api_key else None

    @property
    def digest_url(self) -> str | None:
        """The webhook of the daily digest in clear text, only for posting: the URL is a secret. None if unset."""
        return self.digest_webhook.get_secret_value() if self.digest_webhook else None

    @classmethod
    def load(cls, env_file: Path | None = None, needs_key: bool = True) -> Settings:
        """Reads the environment and the project's `.env`; the environment wins.

        Set `needs_key` to False for commands that only read data. Raises SettingsError with the variable, its value
        (never the key) and the allowed values, and NetworkError if the proxy or certificates cannot be used.
        """
        try:
            settings = cls(_env_file=_dotenv(env_file))  # type: ignore[call-arg]
        except ValidationError as error:
            # From None: pydantic's own message repeats the input, and the input may be the key.
            raise SettingsError("; ".join(_describe(e) for e in error.errors())) from None
        if settings.env == "local" and settings.api_url and not is_loopback(parsed(settings.api_url).host):
            raise SettingsError(
                f"PHYGITALS_API_URL={settings.api_url!r} is refused: PHYGITALS_ENV=local allows a loopback address, or "
                "no URL for the bundled simulator"
            )
        if (settings.submissions_url is None) != (settings.submissions_query is None):
            missing, given = ("URL", "QUERY") if settings.submissions_url is None else ("QUERY", "URL")
            raise SettingsError(
                f"PHYGITALS_SUBMISSIONS_{missing} is not set, but PHYGITALS_SUBMISSIONS_{given} is: set both or neither"
            )
        if needs_key and settings.env != "local" and settings.api_key is None:
            raise SettingsError(
                f"PHYGITALS_API_KEY is not set: the {settings.env} environment needs the key that Phygitals issued"
            )
        most = most_shards(settings.rate_ceiling, settings.max_concurrency)
        if settings.poll_shards > most:
            raise SettingsError(
                f"PHYGITALS_POLL_SHARDS={settings.poll_shards} is refused: use at most {most}, so that each "
                "shard has a share of PHYGITALS_REQUESTS_PER_SECOND and of PHYGITALS_MAX_CONCURRENCY"
            )
        endpoint = os.environ.get("AWS_ENDPOINT_URL")
        if settings.lake_url and endpoint and not is_allowed_endpoint(endpoint):
            raise SettingsError(
                f"AWS_ENDPOINT_URL={endpoint!r} is refused: use an https URL, or plain http to a loopback address"
            )
        if needs_key:
            check(settings.base_url)
        return settings


def most_shards(rate_ceiling: float, max_concurrency: int) -> int:
    """The number of shards of which each has at least one request a second and one in flight."""
    return min(max(1, int(rate_ceiling)), max_concurrency) if rate_ceiling else max_concurrency


def env_file_warnings(env_file: Path | None = None) -> list[str]:
    """What a person should correct in `.env`, one line each, without any value."""
    exposed = exposed_secrets(env_file)
    return [*([exposed] if exposed else []), *unknown_names(env_file)]


def exposed_secrets(env_file: Path | None = None) -> str | None:
    """A warning if other users of the machine can read secrets in `.env`; else None."""
    path = env_file or PROJECT_ROOT / ".env"
    try:
        if not path.stat().st_mode & stat.S_IROTH:
            return None
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return None
    secret = [name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)]
    variables = "|".join(f"PHYGITALS_{name.upper()}" for name in secret)
    found = re.findall(rf"^[ \t]*(?:export[ \t]+)?({variables})[ \t]*=[ \t]*\S", text, re.MULTILINE | re.IGNORECASE)
    if not found:
        return None
    held = " and ".join(dict.fromkeys(found))
    return f"{path} has {held}, and every user of this machine can read it: run `chmod o= {path}`"


def unknown_names(env_file: Path | None = None) -> list[str]:
    """A warning for each name in `.env` that looks like a setting and is none. Other programs may have names there."""
    path = env_file or PROJECT_ROOT / ".env"
    known = [f"PHYGITALS_{name.upper()}" for name in Settings.model_fields]
    try:
        names = [binding.key for binding in _bindings(path.read_text(encoding="utf-8-sig")) if binding.key]
    except (OSError, UnicodeDecodeError):
        return []
    warnings = []
    for name in dict.fromkeys(names):
        close = get_close_matches(name.upper(), known, n=1, cutoff=_ALIKE)
        if name.upper() not in known and (close or name.upper().startswith("PHYGITALS_")):
            advice = f"; did you mean {close[0]}?" if close else ""
            warnings.append(f"{path}: {name} is not a setting and has no effect{advice}")
    return warnings


def _bindings(text: str) -> Iterator[Binding]:
    return parse_stream(io.StringIO(text))


def _dotenv(env_file: Path | None) -> Path:
    """The file with settings, which may be missing. Raises SettingsError if it is not UTF-8 text with settings."""
    path = env_file or PROJECT_ROOT / ".env"
    try:
        content = path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        return path
    except OSError as error:
        raise SettingsError(f"{path} could not be read: {error.strerror}; correct its permissions") from None
    try:
        # UTF-16 without a byte order mark decodes as UTF-8 with many NULs.
        at = content.decode("utf-8").find("\0")
    except UnicodeDecodeError as error:
        at = error.start
    if at >= 0:
        line = content.count(b"\n", 0, at) + 1
        found = "UTF-16" if b"\0" in content else f"not in UTF-8, first in line {line}"
        raise SettingsError(f"{path} is {found}: save it again as UTF-8")
    for binding in _bindings(content.decode("utf-8-sig")):
        if binding.error:  # python-dotenv would leave the line out, which may be the one that names the environment
            read = binding.original.string
            line = binding.original.line + read[: len(read) - len(read.lstrip())].count("\n")
            raise SettingsError(f"{path}, line {line}, is not a setting: write NAME=value, and close each quote")
    return path


def _describe(error: object) -> str:
    details: dict[str, object] = dict(error)  # type: ignore[call-overload]
    field = str(details["loc"][0])  # type: ignore[index]
    variable = f"PHYGITALS_{field.upper()}"
    message = str(details["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    if not message.startswith("use "):
        message = f"use {_range(field) or message}"
    is_secret = "SecretStr" in str(Settings.model_fields[field].annotation)
    may_hold_secret = is_secret or (field == "api_url" and "@" in str(details["input"]))
    shown = "the value (not shown)" if may_hold_secret else repr(details["input"])
    return f"{variable}={shown} is refused: {message}"


def _range(field: str) -> str | None:
    """The bounds of a numeric setting, in words; None for other settings."""
    words = {Gt: "above {0.gt:g}", Ge: "at least {0.ge:g}", Le: "at most {0.le:.10g}"}
    info = Settings.model_fields[field]
    annotations = [*info.metadata, *(m for arg in get_args(info.annotation) for m in getattr(arg, "__metadata__", ()))]
    found = [m for a in annotations for m in getattr(a, "metadata", [a])]
    bounds = [words[type(bound)].format(bound) for bound in found if type(bound) in words]
    kind = "a whole number" if info.annotation is int else "a number"
    return f"{kind}, {', '.join(bounds)}" if bounds else None
