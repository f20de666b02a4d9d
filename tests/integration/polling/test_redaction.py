"""The key is taken out of whatever a server echoes, and nothing else is."""

from __future__ import annotations

import json
import random

import pytest

from pipeline.polling.redaction import Redaction
from pipeline.simulator.server import Reply, Simulator
from pipeline.steps import Workspace
from tests.support.seeds import new_seed
from tests.support.workspace import KEY as CONFIGURED_KEY
from tests.support.workspace import drop, keep_answer, refresh, rows

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


def spelled(key: str, rng: random.Random) -> str:
    """The key as some JSON may spell it: each letter as itself, as an escape, or as a URL's."""
    return "".join(
        rng.choice([json.dumps(c)[1:-1], f"\\u{ord(c):04x}", f"\\u{ord(c):04X}", f"%{ord(c):02x}", f"%{ord(c):02X}"])
        for c in key
    )


@pytest.mark.parametrize("key", [KEY, 'quoted"and\\back/slashed', "with%41percent-signs", "abc12"])
def test_no_spelling_of_the_key_is_left(key):
    seed = new_seed()
    print(f"seed {seed}")
    rng = random.Random(seed)
    redaction = Redaction(key)
    for _ in range(500):
        body = f'{{"error": "for {spelled(key, rng)}!", "caf\\u00e9": "50%20"}}'
        assert redaction.text(body) == '{"error": "for [redacted]!", "caf\\u00e9": "50%20"}', body
        assert redaction.body(body.encode(), is_cut=False).decode() == redaction.text(body)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16"])
def test_a_key_in_utf_16_is_taken_out(encoding):
    assert KEY.encode("utf-16-le") not in Redaction(KEY).body(f"for {KEY}!".encode(encoding), is_cut=False)
    assert KEY.encode("utf-16-be") not in Redaction(KEY).body(f"for {KEY}!".encode(encoding), is_cut=False)


def test_a_body_that_ends_within_a_spelling_keeps_no_part_of_the_key():
    rng = random.Random(5)
    for length in range(1, len(KEY)):
        begun = spelled(KEY[:length], rng)
        for rest in ("", "\\", "\\u", "\\u00", "\\u006", "%", "%6"):
            assert Redaction(KEY).body(b"x" * 50 + (begun + rest).encode(), is_cut=True) == b"x" * 50


def test_escapes_that_are_no_part_of_the_key_stay_as_they_are():
    body = b'{"name": "Pok\\u00e9mon \\u0026 \\u006Dore", "image": "https://x/a%20b%2Fc"}'
    assert Redaction(KEY).body(body, is_cut=False) == body


ECHO = '{"result": {"session_id": "s", "nfts": [{"id": "i", "content": {"metadata": {"name": "key %s"}}}]}}'


def everything(workspace: Workspace) -> bytes:
    """What was kept and published, as far as it is not compressed, and the names in every table of answers."""
    files = b"".join(path.read_bytes() for path in workspace.data.root.rglob("*") if path.is_file())
    return files + repr(rows(workspace, "SELECT name FROM pulls UNION ALL SELECT name FROM items")).encode()


@pytest.mark.parametrize("echoed", [r"sandbox-k\u0065y-0123456789abcdef", r"sandbox\u002dkey-0123456789abcdef"])
def test_a_server_that_spells_the_key_gets_it_into_no_table(echoed, api):
    api(Simulator(scripts={"s": [Reply(200, (ECHO % echoed).encode())]}))
    workspace = Workspace.open()
    drop(workspace, "ids.txt", "s")
    refresh(workspace)
    assert rows(workspace, "SELECT name FROM pulls") == [("key [redacted]",)]
    assert CONFIGURED_KEY.encode() not in everything(workspace)


@pytest.mark.parametrize("echoed", [r"sandbox-k\u0065y-0123456789abcdef", r"sandbox\u002dkey-0123456789abcdef"])
def test_a_key_that_older_versions_stored_in_another_spelling_gets_into_no_table(echoed, api):
    api(Simulator())
    workspace = Workspace.open()
    drop(workspace, "ids.txt", "s")
    workspace.take_in()
    keep_answer(workspace, "s", 200, (ECHO % echoed).encode(), "fulfilled")
    refresh(workspace)
    assert rows(workspace, "SELECT name FROM pulls") == [("key [redacted]",)]
    assert CONFIGURED_KEY.encode() not in everything(workspace)
