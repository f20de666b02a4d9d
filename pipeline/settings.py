"""Settings: every environment variable that the pipeline reads, validated in one place.

Here belongs what a user can set from outside. Constants of the API and of the algorithms live
beside the code that uses them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from annotated_types import Ge, Gt, Le
from croniter import CroniterError, croniter
from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.errors import PipelineError
from pipeline.network import check, is_loopback, parsed

if TYPE_CHECKING:
    from httpx import URL

PROJECT_ROOT = Path(__file__).resolve().parent.parent

Environment = Literal["local", "sandbox", "production"]

_DEFAULT_URLS: dict[str, str] = {
    "sandbox": "https://api.phygitals.com/_",
    "production": "https://api.phygitals.com",
}
_DEFAULT_REQUESTS_PER_SECOND = {"local": 0.0, "sandbox": 25.0, "production": 25.0}


class SettingsError(PipelineError):
    """A variable holds a value that is not allowed, or a required one is missing."""


def _valid_url(value: str) -> str:
    try:
        url = parsed(value)
    except ValueError:
        url = None
    if url is None or url.userinfo or "?" in value or "#" in value:
        raise ValueError("allowed is a base URL such as https://api.phygitals.com")
    if not _is_guarded(url):
        raise ValueError("allowed is https, or plain http to a loopback address such as http://127.0.0.1:8000")
    return value.rstrip("/")


def _is_guarded(url: URL) -> bool:
    return url.scheme == "https" or (url.scheme == "http" and is_loopback(url.host))


def _valid_prefix(value: str) -> str:
    if not value.strip("/"):
        return ""
    if any(c in value for c in "?# \t") or not value.isprintable():
        raise ValueError("allowed is a path such as /api/v1")
    return "/" + value.strip("/")


def _valid_webhook(value: SecretStr) -> SecretStr:
    try:
        is_allowed = _is_guarded(parsed(value.get_secret_value()))
    except ValueError:
        is_allowed = False
    if not is_allowed:
        raise ValueError("allowed is an https URL, or plain http to a loopback address")
    return value


def _valid_key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ValueError("allowed are printable ASCII characters without white space")
    return value


def _valid_cron(value: str) -> str:
    try:
        fields = value.split()
        if len(fields) == 5 and "w" not in fields[2].lower():  # nearest weekdays, which Dagster does not know
            croniter(value).get_next()  # fails as well where no such day comes, as the 30th of February
            return value
    except CroniterError:
        pass
    raise ValueError("allowed is a cron expression of five fields such as '0 2 * * *'")


def _absolute(value: Path) -> Path:
    try:
        return (PROJECT_ROOT / value.expanduser()).resolve()
    except RuntimeError:
        raise ValueError("allowed is a path; there is no home directory of that name") from None


Seconds = Annotated[float, Field(gt=0, le=31_536_000, allow_inf_nan=False)]
SecondsOrNever = Annotated[float, Field(ge=0, le=3_153_600_000, allow_inf_nan=False)]


class WebhookSettings(BaseSettings):
    """Who is told of a failed run. Apart from the rest, because wrong settings are a reason why runs fail."""

    model_config = SettingsConfigDict(env_prefix="PHYGITALS_", env_ignore_empty=True, extra="ignore", frozen=True)

    failure_webhook: Annotated[SecretStr, AfterValidator(_valid_webhook)] | None = None

    @classmethod
    def failure_webhook_url(cls, env_file: Path | None = None) -> str | None:
        """The URL in clear, to post to and for nothing else, since whoever has it can post. None if unset or wrong."""
        try:
            webhook = WebhookSettings(_env_file=env_file or PROJECT_ROOT / ".env").failure_webhook  # type: ignore[call-arg]
        except ValidationError:
            return None
        return webhook.get_secret_value() if webhook else None


class Settings(WebhookSettings):
    """The validated settings. Durations are seconds; rates are requests per second.

    Made by `load`, which turns what pydantic finds into one line for a person.
    """

    env: Environment = "local"
    api_url: Annotated[str, AfterValidator(_valid_url)] | None = None
    api_prefix: Annotated[str, AfterValidator(_valid_prefix)] = "/api/v1"
    api_key: Annotated[SecretStr, AfterValidator(_valid_key)] | None = None
    data_dir: Annotated[Path, AfterValidator(_absolute)] | None = None
    # A pending call is held for about 6 s, and 25 a second times 6 are 150.
    max_concurrency: Annotated[int, Field(ge=1, le=10_000)] = 160
    requests_per_second: Annotated[float, Field(ge=0, le=100_000, allow_inf_nan=False)] | None = None
    request_timeout: Seconds = 30.0
    poll_budget: Seconds = 900.0
    poll_interval: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] = 2.0
    expire_after: SecondsOrNever = 604_800.0
    daily_cron: Annotated[str, AfterValidator(_valid_cron)] = "0 2 * * *"
    keep_run_days: Annotated[int, Field(ge=1, le=36_500)] = 30

    @property
    def base_url(self) -> str | None:
        """The API's base URL; None in `local` without a URL, where the bundled simulator is started."""
        return self.api_url or _DEFAULT_URLS.get(self.env)

    @property
    def api(self) -> str:
        """What a data directory is bound to: the base URL, or the bundled simulator where there is none."""
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
        """The API key in clear, for the request header and for redaction; nowhere else."""
        return self.api_key.get_secret_value() if self.api_key else None

    @classmethod
    def load(cls, env_file: Path | None = None, needs_key: bool = True) -> Settings:
        """Reads the environment and the project's `.env` (the environment wins). Reading data needs no key and no API.

        Raises SettingsError naming the variable, its value (never the key's) and what is allowed, and NetworkError
        where the environment keeps the API from being reached.
        """
        try:
            settings = cls(_env_file=env_file or PROJECT_ROOT / ".env")  # type: ignore[call-arg]
        except ValidationError as error:
            # From None: pydantic's own message repeats the input, and the input may be the key.
            raise SettingsError("; ".join(_describe(e) for e in error.errors())) from None
        if settings.env == "local" and settings.api_url and not is_loopback(parsed(settings.api_url).host):
            raise SettingsError(
                f"PHYGITALS_API_URL={settings.api_url!r} is refused: with PHYGITALS_ENV=local allowed is a loopback "
                "address, or none for the bundled simulator"
            )
        if needs_key and settings.env != "local" and settings.api_key is None:
            raise SettingsError(
                f"PHYGITALS_API_KEY is not set: the {settings.env} environment needs the key that Phygitals issued"
            )
        if needs_key:
            check(settings.base_url)
        return settings


def _describe(error: object) -> str:
    details: dict[str, object] = dict(error)  # type: ignore[call-overload]
    field = str(details["loc"][0])  # type: ignore[index]
    variable = f"PHYGITALS_{field.upper()}"
    message = str(details["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    if not message.startswith("allowed"):
        message = f"allowed is {_range(field) or message}"
    may_hold_secret = field in ("api_key", "failure_webhook") or (field == "api_url" and "@" in str(details["input"]))
    shown = "the value (not shown)" if may_hold_secret else repr(details["input"])
    return f"{variable}={shown} is refused: {message}"


def _range(field: str) -> str | None:
    """The bounds of a number, in words; None for settings that are no numbers."""
    words = {Gt: "above {0.gt:g}", Ge: "at least {0.ge:g}", Le: "at most {0.le:.10g}"}
    info = Settings.model_fields[field]
    annotations = [*info.metadata, *(m for arg in get_args(info.annotation) for m in getattr(arg, "__metadata__", ()))]
    found = [m for a in annotations for m in getattr(a, "metadata", [a])]
    bounds = [words[type(bound)].format(bound) for bound in found if type(bound) in words]
    kind = "a whole number" if info.annotation is int else "a number"
    return f"{kind}, {', '.join(bounds)}" if bounds else None
