"""Strange bodies over real HTTP: compressed, large, ambiguous or full of odd values; each costs a bounded amount."""

from __future__ import annotations

import gzip
import subprocess
import sys
import zlib
from decimal import Decimal

import pytest

from pipeline.polling.answers import MAX_BODY_BYTES
from pipeline.simulator.server import Reply
from pipeline.steps import Workspace
from tests.support.answers import fulfilled
from tests.support.polling_process import POLL
from tests.support.raw_server import (
    RawServer,
    chunked,
    goes_on_for_ever,
    response,
    says,
)
from tests.support.strange_servers import (
    FULFILLED,
    GZIP,
    GZIP_HEADERS,
    HEAD,
    MEBIBYTE,
    ORDINARY,
    READ,
    as_it_should,
    assert_refresh_brings,
    assert_told,
    malformed,
    raw,
    simulator,
)
from tests.support.workspace import build, drop, lake_rows

pytestmark = pytest.mark.timeout(60)


def test_a_compressed_body_is_unpacked_however_it_is_cut(raw_api):
    packed = {name: gzip.compress(fulfilled(name).body) for name in ("whole", "in-chunks", "byte-by-byte", "old-name")}
    half = len(fulfilled("in-members").body) // 2
    members = [
        gzip.compress(part) for part in (fulfilled("in-members").body[:half], fulfilled("in-members").body[half:])
    ]
    first = {
        "whole": response(packed["whole"], GZIP),
        "in-chunks": chunked(packed["in-chunks"], 7, GZIP),
        "byte-by-byte": chunked(packed["byte-by-byte"], 1, GZIP),
        "old-name": response(packed["old-name"], "Content-Encoding: X-GZip"),
        "in-members": chunked(b"".join(members), 11, GZIP),
    }
    raw_api(RawServer(as_it_should, {session_id: [says(data)] for session_id, data in first.items()}))
    assert_refresh_brings({session_id: [FULFILLED] for session_id in first})


def test_a_body_that_is_not_the_gzip_it_says_is_malformed(api):
    first = {
        "plain": (fulfilled("plain").body, "the body is not what its Content-Encoding says"),
        "truncated": (gzip.compress(fulfilled("truncated").body)[:-9], "the body is truncated"),
        "empty": (b"", "the body is truncated"),
        "garbled": (gzip.compress(b"{}")[:-8] + bytes(8), "the body is not what its Content-Encoding says"),
        "continued": (gzip.compress(b"{}") + b"more", "the body is not what its Content-Encoding says"),
        "twice": (gzip.compress(gzip.compress(b"{}")), "the body is not UTF-8"),
    }
    api(simulator({session_id: Reply(200, body, GZIP_HEADERS) for session_id, (body, _) in first.items()}))
    assert_refresh_brings({session_id: malformed(detail) for session_id, (_, detail) in first.items()})


# Linux counts into a process what its parent held when it was started, so a small process stands between.
PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


def peak_of_polling(sessions: list[str]) -> tuple[Workspace, int]:
    """Polls in a process of its own; returns its peak memory in bytes."""
    workspace = Workspace.open()
    drop(workspace, "ids.txt", "\n".join([*sessions, *ORDINARY]))
    command = [sys.executable, "-c", PEAK, sys.executable, "-c", POLL]
    return workspace, int(subprocess.run(command, check=True, capture_output=True).stdout)


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """A megabyte that stands for a gigabyte of zeros: a full flush lets a block be repeated as it is."""
    compressor = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    first, other = (compressor.compress(bytes(MEBIBYTE)) + compressor.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    return first + other * 1023 + compressor.flush()


@pytest.fixture(scope="module")
def large_replies(bomb) -> dict[str, Reply]:
    return {
        "a gzip bomb": Reply(200, bomb, GZIP_HEADERS),
        "9 MiB": Reply(200, b'{"status": "pending", "x": "' + b"x" * (9 * MEBIBYTE) + b'"}'),
    }


@pytest.mark.parametrize(
    ("kind", "session_count", "bound"),
    [("a gzip bomb", 1, 128), ("a gzip bomb", 40, 256), ("9 MiB", 40, 256)],
)
def test_large_bodies_cost_little_memory_however_many_come_at_once(
    kind, session_count, bound, large_replies, api, configure, tmp_path
):
    sessions = [f"large-{i}" for i in range(session_count)]
    api(simulator({session_id: fulfilled(session_id) for session_id in sessions}))
    configure(data_dir=tmp_path / "usual")
    _, usual_peak = peak_of_polling(sessions)
    api(simulator(dict.fromkeys(sessions, large_replies[kind])))
    configure(data_dir=tmp_path / "large", request_timeout=20)
    workspace, peak = peak_of_polling(sessions)
    assert peak - usual_peak < bound * MEBIBYTE
    build(workspace, *READ)
    assert_told(workspace, {s: malformed("the body is over 8 MiB") for s in sessions})
    assert lake_rows(workspace, "SELECT max(len(raw_value)) FROM data_issues") == [(200,)]
    kept = raw(workspace, "DISTINCT octet_length(body)", "outcome = 'malformed'")
    assert kept == [(MAX_BODY_BYTES,)]


def test_what_follows_a_whole_gzip_body_without_an_end_is_not_gathered_up(raw_api):
    endless = goes_on_for_ever(HEAD + f"{GZIP}\r\n\r\n".encode() + gzip.compress(b"{}"), bytes(MEBIBYTE))
    raw_api(RawServer(as_it_should, {"endless": [endless, as_it_should("endless")]}))
    assert_refresh_brings({"endless": malformed("the body is not what its Content-Encoding says")})


def test_a_body_that_is_no_text_or_can_be_read_in_two_ways_is_malformed(api):
    first = {
        "no-utf-8": (b'{"result": {"session_id": "no-utf-8", "nfts": [{"id": "\xff"}]}}', "the body is not UTF-8"),
        "utf-16": (fulfilled("utf-16").body.decode().encode("utf-16"), "the body is not UTF-8"),
        "nested": (
            b'{"status": "pending", "x": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
            "the body is nested too deeply",
        ),
        "two-results": (
            b'{"result": {}, "result": {"session_id": "two-results", "nfts": [{"id": "i"}]}}',
            "more than one result",
        ),
        "two-statuses": (b'{"status": "done", "status": "pending"}', "more than one status"),
    }
    api(simulator({session_id: Reply(200, body) for session_id, (body, _) in first.items()}))
    assert_refresh_brings({session_id: malformed(detail) for session_id, (_, detail) in first.items()})


def answer(session_id: str, items: str, more: str = "") -> Reply:
    return Reply(200, f'{{"result": {{"session_id": "{session_id}", "nfts": [{items}]{more}}}}}'.encode())


def test_a_lone_surrogate_costs_one_character_and_no_pull(api):
    metadata = r'{"name": "Card \ud800 of \ud83d\ude00", "attributes": [{"trait_type": "\udfff", "value": "\ud83d"}]}'
    api(
        simulator(
            {
                "in-a-name": answer(
                    "in-a-name", f'{{"id": "i", "buyback_price": 1.5, "content": {{"metadata": {metadata}}}}}'
                ),
                "in-an-id": answer("in-an-id", r'{"id": "\udc00", "buyback_price": 12345678901.12345678}'),
                "in-a-key": answer("in-a-key", '{"id": "i"}', r', "\ud800": 1'),
            }
        )
    )
    workspace = assert_refresh_brings({"in-a-name": [FULFILLED], "in-an-id": [FULFILLED], "in-a-key": [FULFILLED]})
    found = lake_rows(
        workspace,
        "SELECT session_id, item_id, name, buyback_price_usd FROM pulls WHERE session_id LIKE 'in-%' ORDER BY 1",
    )
    assert found == [
        ("in-a-key", "i", None, None),
        ("in-a-name", "i", "Card \N{REPLACEMENT CHARACTER} of \N{GRINNING FACE}", Decimal("1.5000")),
        ("in-an-id", "\N{REPLACEMENT CHARACTER}", None, Decimal("12345678901.1235")),
    ]
    assert lake_rows(workspace, "SELECT trait_type, value FROM item_attributes") == [("\N{REPLACEMENT CHARACTER}",) * 2]


def test_a_key_that_comes_twice_below_the_envelope_costs_no_pull_and_no_neighbour(api):
    twice = (
        '"buyback_price": 1, "buyback_price": 2, "content": {"metadata": {"attributes": {"Grade": "9", "Grade": "10"}}}'
    )
    replies = {
        "item": answer("item", f'{{"id": "first", "id": "second", {twice}}}, {{"id": "neighbour"}}'),
        "list": answer("list", "", ', "nfts": [{"id": "only"}]'),
        "session": answer("another", '{"id": "own"}', ', "session_id": "session"'),
    }
    api(simulator(replies))
    workspace = assert_refresh_brings(
        dict.fromkeys(replies, [("fulfilled", "keys are repeated; of each, the last counts")])
    )
    found = lake_rows(
        workspace,
        "SELECT session_id, item_id, buyback_price_usd FROM pulls WHERE item_id <> 'i' ORDER BY 1, pull_number",
    )
    assert found == [
        ("item", "second", 2),
        ("item", "neighbour", None),
        ("list", "only", None),
        ("session", "own", None),
    ]


def test_numbers_that_no_machine_holds_are_read_or_reported_and_cost_no_pull(api):
    prices = {
        "123456789012345678901234567890": (None, "10^11 or more"),
        "18446744073709551616": (None, "10^11 or more"),
        "-9223372036854775809": (None, "negative"),
        "1e400": (None, "10^11 or more"),
        "-1e400": (None, "negative"),
        "9" * 5000: (None, "10^11 or more"),
        "12345678901.234567890123456789": (Decimal("12345678901.2346"), None),
        "0." + "9" * 5000: (Decimal(1), None),
        "1e-400": (Decimal(0), None),
    }
    items = ", ".join(f'{{"id": "i", "buyback_price": {price}}}' for price in prices)
    more = f', "supply": {"9" * 100_000}, "debt": -{10**30}, "share": 1e999, "rest": 1e-999'
    api(simulator({"odd": answer("odd", items, more)}))
    workspace = assert_refresh_brings({"odd": [FULFILLED]})
    found = lake_rows(
        workspace,
        """
        SELECT buyback_price_usd, detail FROM pulls LEFT JOIN data_issues AS issues
            ON issues.session_id = pulls.session_id AND issues.pull_number = pulls.pull_number
        WHERE pulls.session_id = 'odd' ORDER BY pulls.pull_number
        """,
    )
    assert found == list(prices.values())
    unknown = lake_rows(workspace, "SELECT field FROM data_issues WHERE rule = 'unknown_field' ORDER BY 1")
    assert unknown == [("$.result.debt",), ("$.result.rest",), ("$.result.share",), ("$.result.supply",)]


def test_ten_thousand_items_in_one_answer_are_ten_thousand_pulls(api):
    attributes = '[{"trait_type": "Grade", "value": "9"}]'
    items = [
        f'{{"id": "i{i}", "content": {{"metadata": {{"name": "n", "attributes": {attributes}}}}}}}'
        for i in range(10_000)
    ]
    items[5000:5003] = ["null", '{"id": "bare"}', '{"id": "odd", "content": 1}']
    api(simulator({"many": answer("many", ", ".join(items))}))
    workspace = assert_refresh_brings({"many": [FULFILLED]})
    assert lake_rows(
        workspace, "SELECT count(*), count(name), max(pull_number) FROM pulls WHERE session_id = 'many'"
    ) == [(10_000, 9_997, 10_000)]
    assert lake_rows(workspace, "SELECT count(*) FROM item_attributes") == [(9_997,)]
    assert lake_rows(
        workspace, "SELECT pull_number, rule, field FROM data_issues WHERE session_id = 'many' ORDER BY 1"
    ) == [
        (5001, "missing_item_id", "id"),
        (5003, "unreadable_field", "content"),
    ]
