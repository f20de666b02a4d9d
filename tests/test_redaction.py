"""The key is taken out of whatever a server echoes, and nothing else is."""

from __future__ import annotations

import json

import pytest

from pipeline.polling.redaction import Redaction

KEY = "sk-live-0123456789abcdef"


@pytest.mark.parametrize("key", [KEY, 'quoted"and\\back/slashed', "abc12"])
def test_no_form_of_the_key_is_left(key):
    as_json = json.dumps({"error": key})
    for echo in (f"Invalid key {key}.", as_json, as_json.replace("/", "\\/")):
        for redacted in (Redaction(key).text(echo), Redaction(key).body(echo.encode(), is_cut=False).decode()):
            assert "[redacted]" in redacted
            assert key not in redacted
            assert json.dumps(key)[1:-1] not in redacted


@pytest.mark.parametrize("length", [1, 5, 23])
def test_a_body_that_ends_within_the_key_keeps_no_part_of_it(length):
    assert Redaction(KEY).body(b"x" * 50 + KEY[:length].encode(), is_cut=True) == b"x" * 50


def test_a_whole_body_keeps_an_ending_that_only_looks_like_a_part_of_the_key():
    assert Redaction(KEY).body(b"risks", is_cut=False) == b"risks"


def test_words_that_contain_a_short_key_are_left_alone():
    assert Redaction("k").text("a token, a kiosk") == "a token, a kiosk"


def test_without_a_key_everything_passes():
    assert Redaction(None).text("anything") == "anything"
    assert Redaction(None).body(b"anything", is_cut=True) == b"anything"
