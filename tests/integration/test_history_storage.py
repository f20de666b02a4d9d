"""Configurations of Dagster's run history that cannot be used: what is said of them, and what is not."""

import os
from pathlib import Path

import pytest

from pipeline.orchestration.history_storage import HistoryUnknownError, opened_history


def unknown_because(url: str) -> str:
    """Why the history is unknown if DAGSTER_HOME has this URL of its database."""
    configuration = Path(os.environ["DAGSTER_HOME"]) / "dagster.yaml"
    configuration.write_text(f"storage:\n  postgres:\n    postgres_url: {url}\n")
    with pytest.raises(HistoryUnknownError) as caught, opened_history("production"):
        pass
    return str(caught.value)


@pytest.mark.parametrize("password", ["open sesame: now", "sesame\t: now", "sesame\0"])
def test_a_password_in_a_configuration_that_is_no_yaml_is_not_shown(password):
    said = unknown_because(f"postgresql://dagster:{password}@127.0.0.1:1/history")
    assert "dagster.yaml is not valid YAML" in said and said.endswith(": correct it")
    assert "sesame" not in said


@pytest.mark.parametrize("password", ["sesame/open", "sesame%open", "sesame?open#now"])
def test_a_password_that_dagster_accepts_is_used_and_not_shown(password):
    pytest.importorskip("psycopg")
    said = unknown_because(f"postgresql+psycopg2://dagster:{password}@127.0.0.1:1/history")
    assert "cannot be read: connection failed" in said
    assert "sesame" not in said


def test_a_variable_that_is_not_set_is_named():
    said = unknown_because("{env: HISTORY_URL}")
    assert "HISTORY_URL, which is not set: set it" in said
