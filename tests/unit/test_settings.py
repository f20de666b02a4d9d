"""Settings: each refusal names the variable, the value and what is allowed."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

import pipeline.settings as settings_module
from pipeline.settings import PROJECT_ROOT, Settings, SettingsError, WebhookSettings


def load(tmp_path: Path, dotenv: str = "") -> Settings:
    env_file = tmp_path / "dotenv"
    env_file.write_text(dotenv)
    return Settings.load(env_file)


def test_defaults_are_those_of_the_specification(tmp_path, monkeypatch):
    monkeypatch.delenv("PHYGITALS_DATA_DIR")
    settings = load(tmp_path)
    assert settings.env == "local"
    assert settings.base_url is None
    assert settings.rate_ceiling == 0
    assert settings.data_directory == PROJECT_ROOT / "data" / "local"
    assert (settings.max_concurrency, settings.request_timeout, settings.poll_budget) == (160, 30, 900)
    assert (settings.poll_interval, settings.expire_after, settings.daily_cron) == (2, 604_800, "0 2 * * *")
    assert (settings.publish_days, settings.memory_limit) == (0, "1.1GB")


@pytest.mark.parametrize("size", ["250MB", "239 MiB", "2gb", "1.5 GiB", " 1TB "])
def test_a_memory_limit_is_a_size_as_duckdb_reads_it(size, tmp_path, configure):
    configure(memory_limit=size)
    limit = load(tmp_path).memory_limit
    with duckdb.connect(config={"memory_limit": limit}) as connection:
        assert connection.execute("SELECT current_setting('memory_limit')").fetchall() != [("0 bytes",)]


@pytest.mark.parametrize(
    ("env", "url"), [("production", "https://api.phygitals.com"), ("sandbox", "https://api.phygitals.com/_")]
)
def test_each_environment_has_its_url_and_its_ceiling(env, url, tmp_path, configure):
    configure(env=env, api_key="k")
    settings = load(tmp_path)
    assert settings.base_url == url
    assert settings.api_prefix == "/api/v1"
    assert settings.rate_ceiling == 25


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("env", "staging", "'local', 'sandbox' or 'production'"),
        ("api_url", "http://api.phygitals.com", "https"),
        ("api_url", "ftp://127.0.0.1", "https"),
        ("api_url", "https://host/?a=b", "base URL"),
        ("api_url", "http://127.0.0.1:99999", "base URL"),
        ("api_url", "http://[::1", "base URL"),
        ("api_prefix", "/a b", "a path"),
        ("max_concurrency", "0", "a whole number, at least 1, at most 10000"),
        ("max_concurrency", "many", "a whole number, at least 1, at most 10000"),
        ("requests_per_second", "-1", "a number, at least 0, at most 100000"),
        ("requests_per_second", "nan", "a number, at least 0, at most 100000"),
        ("request_timeout", "0", "a number, above 0, at most 31536000"),
        ("poll_budget", "soon", "a number, above 0, at most 31536000"),
        ("poll_interval", "61", "a number, above 0, at most 60"),
        ("expire_after", "-5", "a number, at least 0, at most 3153600000"),
        ("rebuild_processes", "0", "a whole number, at least 1, at most 256"),
        ("keep_run_days", "0", "a whole number, at least 1, at most 36500"),
        ("publish_days", "-1", "a whole number, at least 0, at most 36500"),
        ("publish_days", "1.5", "a whole number, at least 0, at most 36500"),
        ("memory_limit", "2", "a size such as 2GB or 500MB, at least 250MB"),
        ("memory_limit", "80%", "a size such as 2GB or 500MB, at least 250MB"),
        ("memory_limit", "unlimited", "a size such as 2GB or 500MB, at least 250MB"),
        ("memory_limit", "249.9MB", "a size such as 2GB or 500MB, at least 250MB"),
        ("daily_cron", "at two", "cron expression"),
        ("daily_cron", "@daily", "cron expression"),
        ("daily_cron", "0 2 30 2 *", "cron expression"),
        ("daily_cron", "0 2 15W * *", "cron expression"),
        ("data_dir", "~nobody-of-that-name/data", "no home directory of that name"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_by_name(variable, value, allowed, tmp_path, configure):
    configure(**{variable: value})
    with pytest.raises(SettingsError) as refusal:
        load(tmp_path)
    message = str(refusal.value)
    assert message.startswith(f"PHYGITALS_{variable.upper()}='{value}' is refused: use ")
    assert allowed in message
    assert "\n" not in message


@pytest.mark.parametrize("env", ["sandbox", "production"])
def test_a_key_is_required_outside_local(env, tmp_path, configure):
    configure(env=env)
    with pytest.raises(SettingsError, match="PHYGITALS_API_KEY is not set"):
        load(tmp_path)


def test_a_bad_key_is_refused_without_being_shown(tmp_path, configure):
    configure(env="production", api_key="geheim\tnis")
    with pytest.raises(SettingsError) as refusal:
        load(tmp_path)
    assert "PHYGITALS_API_KEY" in str(refusal.value)
    assert "geheim" not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_a_url_with_a_password_is_refused_without_being_shown(tmp_path, configure):
    configure(api_url="https://user:geheim@host")
    with pytest.raises(SettingsError) as refusal:
        load(tmp_path)
    assert "geheim" not in str(refusal.value)


def test_local_refuses_the_url_of_a_real_api(tmp_path, configure):
    configure(api_url="https://api.phygitals.com")
    with pytest.raises(SettingsError, match="loopback"):
        load(tmp_path)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost:8000/", "http://[::1]:8000"])
def test_plain_http_is_allowed_to_loopback(url, tmp_path, configure):
    configure(env="production", api_key="k", api_url=url)
    assert load(tmp_path).base_url == url.rstrip("/")


def test_a_dotenv_file_is_read_and_the_environment_wins(tmp_path, configure):
    configure(poll_budget="5.5")
    settings = load(tmp_path, "PHYGITALS_POLL_BUDGET=7\nPHYGITALS_MAX_CONCURRENCY=3\n")
    assert settings.poll_budget == 5.5
    assert settings.max_concurrency == 3


def test_the_dotenv_file_is_the_one_in_the_projects_root(tmp_path, monkeypatch):
    monkeypatch.setattr(settings_module, "PROJECT_ROOT", tmp_path)
    (tmp_path / ".env").write_text("PHYGITALS_MAX_CONCURRENCY=3\nPHYGITALS_FAILURE_WEBHOOK=https://hooks.example/x\n")
    assert Settings.load().max_concurrency == 3
    assert WebhookSettings.failure_webhook_url() == "https://hooks.example/x"


def test_an_empty_variable_counts_as_unset(tmp_path, configure):
    configure(api_key="", poll_budget="")
    assert load(tmp_path).api_key is None


def test_the_key_does_not_show_in_the_settings_themselves(tmp_path, configure):
    configure(env="production", api_key="geheimnis")
    settings = load(tmp_path)
    assert "geheimnis" not in repr(settings)
    assert settings.secret == "geheimnis"


QUERY = "SELECT session_id, created_at AS cursor FROM purchases"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:p%40ss@host:5432/shop",
        "postgres://user@one:5432,two:5433/shop?target_session_attrs=any",
        "postgresql:///shop?host=/var/run/postgresql",
    ],
)
def test_the_url_of_a_database_is_a_secret(url, tmp_path, configure):
    configure(submissions_url=url, submissions_query=f" {QUERY} ; \n")
    settings = load(tmp_path)
    assert settings.submissions_url is not None and settings.submissions_url.get_secret_value() == url
    assert settings.submissions_query == QUERY
    assert url not in repr(settings) and url not in settings.model_dump_json()


@pytest.mark.parametrize(
    "url",
    [
        "mysql://user:geheim@host/shop",
        "host=localhost password=geheim",
        "postgresql:geheim",
        "postgresql://user:geh@eim@host/shop",
        "postgresql://user:geh/eim@host/shop",
        "postgresql://user:geh?eim@host/shop",
        "postgresql://user:geh eim@host/shop",
        "postgresql://host/shop?user=a@geheim",
    ],
)
def test_a_bad_url_of_a_database_is_refused_without_being_shown(url, tmp_path, configure):
    configure(submissions_url=url, submissions_query=QUERY)
    with pytest.raises(SettingsError) as refusal:
        load(tmp_path)
    message = str(refusal.value)
    assert message.startswith("PHYGITALS_SUBMISSIONS_URL=the value (not shown) is refused: use postgresql://")
    assert "geh" not in message and "eim" not in message and "\n" not in message
    assert refusal.value.__cause__ is None


def test_a_query_without_text_is_refused(tmp_path, configure):
    configure(submissions_url="postgresql://host/shop", submissions_query=" ; ")
    with pytest.raises(SettingsError, match="PHYGITALS_SUBMISSIONS_QUERY=' ; ' is refused: use a query such as"):
        load(tmp_path)


@pytest.mark.parametrize(("given", "missing"), [("url", "QUERY"), ("query", "URL")])
def test_a_database_needs_its_query_and_a_query_its_database(given, missing, tmp_path, configure):
    configure(**{f"submissions_{given}": {"url": "postgresql://u:geheim@host/shop", "query": QUERY}[given]})
    with pytest.raises(SettingsError, match=f"PHYGITALS_SUBMISSIONS_{missing} is not set, but .* set both or neither"):
        load(tmp_path)
