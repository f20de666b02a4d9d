"""The source of session ids in PostgreSQL, as far as it needs no server: redaction, cursors, the missing package."""

from __future__ import annotations

import sys

import pytest

from pipeline.sources.postgres_connection import without_secrets
from pipeline.sources.postgres_query import LOCAL_TIME, NUMBER, TIME
from pipeline.steps import Workspace
from tests.support.intake import taken_in
from tests.support.workspace import drop

PASSWORD = "p@ss/w:rd%41-geheim"
ENCODED = "p%40ss%2Fw%3Ard%2541-geheim"
URL = f"postgresql://user:{ENCODED}@host:5432/shop"


@pytest.mark.parametrize(
    "url",
    [URL, f"postgres://user@host/shop?password={ENCODED}&x=1", f"postgres://host/shop?x=1&sslpassword={ENCODED}"],
    ids=["in front of the host", "as a parameter", "of a key"],
)
@pytest.mark.parametrize("form", [PASSWORD, ENCODED, ENCODED.lower(), "p%40ss/w%3Ard%2541-geheim".replace("/", "%2F")])
def test_no_form_of_the_password_is_left(url, form):
    assert (
        without_secrets(f'FATAL: for "{form}" at {url}, of user', url)
        == 'FATAL: for "[redacted]" at [redacted], of user'
    )


def test_the_password_of_the_environment_is_taken_out(monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "geheimnis")
    assert without_secrets("it was geheimnis", "postgresql://host/shop") == "it was [redacted]"


def test_words_that_contain_a_short_password_are_left_alone():
    assert without_secrets('a host, "ab", at abc', "postgresql://user:ab@host/shop") == 'a host, "[redacted]", at abc'


def test_without_a_password_everything_passes(monkeypatch):
    monkeypatch.delenv("PGPASSWORD", raising=False)
    assert without_secrets("anything at all", "postgresql://host/shop") == "anything at all"


@pytest.mark.parametrize(
    ("kind", "text", "value", "literal"),
    [
        (NUMBER, str(-(2**63)), -(2**63), f"'{-(2**63)}'::bigint"),
        (NUMBER, "-5", -5, "'-5'::bigint"),
        (TIME, "1970-01-01 00:00:01.5+00", 1_500_000, "'1970-01-01 00:00:01.500000+00:00'::timestamptz"),
        (TIME, "1970-01-01 02:00:00+02", 0, "'1970-01-01 00:00:00+00:00'::timestamptz"),
        (LOCAL_TIME, "1970-01-01 00:00:00.000001", 1, "'1970-01-01 00:00:00.000001+00:00'::timestamp"),
    ],
)
def test_a_cursor_is_a_number_that_goes_back_into_sql(kind, text, value, literal):
    assert kind.value(text) == value
    assert kind.literal(value) == literal


def test_times_that_python_does_not_have_are_ordered_like_others():
    texts = ["-infinity", "0044-03-15 00:00:00+00 BC", "2026-01-01 00:00:00+00", "20000-01-01 00:00:00+00", "infinity"]
    values = [TIME.value(text) for text in texts]
    assert values == sorted(values)
    assert [TIME.literal(value - TIME.overlap) for value in values]


def test_a_missing_package_is_one_line_and_the_inbox_is_served(configure, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    configure(submissions_url=URL, submissions_query="SELECT session_id, created_at AS cursor FROM purchases")
    workspace = Workspace.open()
    drop(workspace, "a.txt", "one\n")
    assert workspace.take_in().left == {
        "postgresql": "the package psycopg is missing: run `pip install 'phygitals-pipeline[postgres]'`"
    }
    assert [row["session_id"] for row in taken_in(workspace)] == ["one"]


def test_without_the_setting_the_package_is_not_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert Workspace.open().take_in().left == {}
