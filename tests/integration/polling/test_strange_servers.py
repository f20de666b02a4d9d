"""Servers that misbehave, over real HTTP: each strange answer gets its meaning, is counted and asked again,
costs a bounded amount of memory and time, and harms none of the sessions that are asked beside it."""

from __future__ import annotations

import gzip
import ipaddress
import random
import socket
import subprocess
import sys
import zlib
from collections import Counter
from decimal import Decimal

import pytest
from cryptography import x509

from pipeline.polling.answers import MAX_BODY_BYTES
from pipeline.polling.refusals import ApiUnreachableError
from pipeline.schema.findings import DATA_ISSUES
from pipeline.schema.staging import ITEM_ATTRIBUTES, PULLS, PURCHASES
from pipeline.simulator.server import Reply, Simulator
from pipeline.simulator.service import serve
from pipeline.steps import Workspace
from tests.support.answers import fulfilled
from tests.support.polling_process import POLL
from tests.support.raw_server import (
    Act,
    RawServer,
    chunked,
    goes_on_for_ever,
    hangs_up_after,
    response,
    says,
    serve_raw,
)
from tests.support.strange_servers import Said, as_it_should, certificate, raw, said
from tests.support.workspace import KEY, ask, build, derive, drop, lake_rows

pytestmark = pytest.mark.timeout(60)

ORDINARY = [f"ordinary-{i}" for i in range(20)]
MEBIBYTE = 1024 * 1024
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
GZIP = "Content-Encoding: gzip"
GZIP_HEADERS = {"Content-Type": "application/json", "Content-Encoding": "gzip"}

READ = (PURCHASES, PULLS, ITEM_ATTRIBUTES, DATA_ISSUES)  # what the tests look at
FULFILLED: Said = ("fulfilled", None)


def simulator(first: dict[str, Reply]) -> Simulator:
    """Answers these sessions so at first; them and the ordinary ones as it should from then on."""
    scripts = {session_id: [reply, fulfilled(session_id)] for session_id, reply in first.items()}
    return Simulator(scripts=scripts | {session_id: [fulfilled(session_id)] for session_id in ORDINARY})


def assert_refresh_brings(expected: dict[str, list[Said]]) -> Workspace:
    """Asks the strange sessions among ordinary ones until all are fulfilled, and looks at every place that tells.

    `expected` has the answers of each strange session in their order.
    """
    workspace = Workspace.open()
    drop(workspace, "ids.txt", "\n".join([*expected, *ORDINARY]))
    progress = derive(workspace, *READ)
    assert_told(workspace, expected)
    assert progress.outcomes == Counter(outcome for answers in said(workspace).values() for outcome, _ in answers)
    return workspace


def assert_told(workspace: Workspace, expected: dict[str, list[Said]]) -> None:
    answers = said(workspace)
    assert {session_id: answers[session_id] for session_id in expected} == expected
    assert {answers[session_id][-1] for session_id in ORDINARY} == {FULFILLED}
    purchases = lake_rows(workspace, "SELECT session_id, status, poll_count FROM purchases ORDER BY session_id")
    assert purchases == [(s, "fulfilled", len(answers[s])) for s in sorted([*expected, *ORDINARY])]
    issues = lake_rows(workspace, "SELECT session_id, detail FROM data_issues WHERE rule = 'malformed_answer'")
    assert sorted(issues) == sorted(
        (session_id, detail)
        for session_id, given in expected.items()
        for outcome, detail in given
        if outcome == "malformed"
    )


def malformed(detail: str) -> list[Said]:
    """Malformed at first, and fulfilled when asked again."""
    return [("malformed", detail), FULFILLED]


def transient(detail: str) -> list[Said]:
    return [("transient", detail), FULFILLED]


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


def test_an_answer_without_an_end_is_given_up_at_the_request_timeout(raw_api, configure):
    gzip_head = HEAD + f"{GZIP}\r\n\r\n".encode()
    first = {
        "a-silent-server": goes_on_for_ever(b""),
        "half-a-status-line": goes_on_for_ever(b"HTTP/1."),
        "interim-answers": goes_on_for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        "a-dripping-body": goes_on_for_ever(HEAD + b"\r\n", b" "),
        "dripping-chunks": goes_on_for_ever(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        "empty-members": goes_on_for_ever(gzip_head, gzip.compress(b"")),
    }
    raw_api(RawServer(as_it_should, {s: [act, as_it_should(s)] for s, act in first.items()}))
    configure(request_timeout=2)
    assert_refresh_brings({session_id: transient("no answer within 2 s") for session_id in first})


def test_what_follows_a_whole_gzip_body_without_an_end_is_not_gathered_up(raw_api):
    endless = goes_on_for_ever(HEAD + f"{GZIP}\r\n\r\n".encode() + gzip.compress(b"{}"), bytes(MEBIBYTE))
    raw_api(RawServer(as_it_should, {"endless": [endless, as_it_should("endless")]}))
    assert_refresh_brings({"endless": malformed("the body is not what its Content-Encoding says")})


def test_what_is_not_http_is_a_broken_connection_or_a_malformed_answer(raw_api):
    broken, no_http = transient("the connection broke"), transient("the answer is not HTTP")
    truncated = malformed("the body is truncated")
    many_headers = b"".join(b"X-%d: y\r\n" % i for i in range(5000))
    first = {
        "nothing": (hangs_up_after(), broken),
        "half-a-status-line": (hangs_up_after(b"HTTP/1."), broken),
        "half-the-headers": (hangs_up_after(HEAD + b"Content-"), broken),
        "half-a-body": (hangs_up_after(response(b"{}" * 50)[:-3]), truncated),
        "half-a-chunk": (hangs_up_after(chunked(b"{}" * 50, 100)[:-30]), truncated),
        "garbage": (says(b"\x00\xff garbage\r\n\r\n"), no_http),
        "another-protocol": (says(b"SSH-2.0-OpenSSH_9.6\r\n"), no_http),
        "a-tls-alert": (says(b"\x15\x03\x01\x00\x02\x02\x46"), no_http),
        "five-digits": (says(b"HTTP/1.1 20000 OK\r\nContent-Length: 2\r\n\r\n{}"), no_http),
        "two-lengths": (says(response(b"{}", "Content-Length: 3")), no_http),
        "a-negative-length": (says(HEAD + b"Content-Length: -2\r\n\r\n{}"), no_http),
        "thousands-of-headers": (says(HEAD + many_headers + b"Content-Length: 2\r\n\r\n{}"), no_http),
        "a-megabyte-of-header": (says(response(b"{}", "X-Long: " + "y" * 1_000_000)), no_http),
        "another-protocol-still": (says(response(b"", status="101 Switching Protocols")), malformed(undocumented(101))),
        "no-content": (says(b"HTTP/1.1 204 No Content\r\n\r\n"), malformed(undocumented(204))),
    }
    raw_api(RawServer(as_it_should, {s: [act, as_it_should(s)] for s, (act, _) in first.items()}))
    assert_refresh_brings({session_id: answers for session_id, (_, answers) in first.items()})


def undocumented(status: int) -> str:
    return f"HTTP {status} is not an answer that the API documents"


def test_an_answer_that_nobody_asked_for_is_no_other_sessions(raw_api, configure):
    extra = response(b'{"error": "Transaction failed"}', status="400 Bad Request")
    raw_api(RawServer(as_it_should, {"doubled": [says(response(fulfilled("doubled").body) + extra)]}))
    configure(max_concurrency=1)
    assert_refresh_brings({"doubled": [FULFILLED]})


def test_connections_that_close_at_any_moment_cost_questions_and_no_session(raw_api, configure):
    rng = random.Random(7)

    def capricious(session_id: str) -> Act:
        whole = response(fulfilled(session_id).body)

        async def act(writer) -> None:
            sent = whole[: rng.choice((0, 30, len(whole) - 5, len(whole), len(whole), len(whole)))]
            writer.write(sent)
            if sent != whole or rng.random() < 0.5:
                rng.choice((writer.close, writer.transport.abort))()

        return act

    raw_api(RawServer(capricious))
    configure(max_concurrency=4, request_timeout=1)
    workspace = Workspace.open()
    sessions = [f"s{i}" for i in range(60)]
    drop(workspace, "ids.txt", "\n".join(sessions))
    progress = derive(workspace, PURCHASES)
    assert lake_rows(workspace, "SELECT status, count(*) FROM purchases GROUP BY 1") == [("fulfilled", 60)]
    assert lake_rows(workspace, "SELECT sum(poll_count) FROM purchases") == [(progress.requests,)]
    assert set(progress.outcomes) == {"fulfilled", "transient", "malformed"}


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


def test_a_failure_that_is_said_and_unsaid_is_no_failure(api):
    api(simulator({"two-errors": Reply(400, b'{"error": "Pending", "error": "Transaction failed"}')}))
    assert_refresh_brings({"two-errors": [("refused", "HTTP 400"), FULFILLED]})


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


def test_a_retry_after_without_sense_is_passed_over(api):
    values = ("Mon, 99999999999999999999 Jan 2026 00:00:00 GMT", "soon", "nan", "-5", ", ,")
    api(simulator({f"busy-{i}": Reply(503, b"", {"Retry-After": value}) for i, value in enumerate(values)}))
    assert_refresh_brings({f"busy-{i}": transient("HTTP 503") for i in range(len(values))})


def test_no_redirect_is_followed_and_the_key_arrives_nowhere_else(api):
    elsewhere = RawServer(as_it_should)
    statuses = (301, 302, 303, 307, 308)
    with serve_raw(elsewhere) as url:
        location = url.replace("127.0.0.1", "localhost") + "/api/v1/vm/buy/status"
        api(simulator({f"r{status}": Reply(status, b"", {"Location": location}) for status in statuses}))
        assert_refresh_brings({f"r{status}": malformed(undocumented(status)) for status in statuses})
    assert elsewhere.received == b""


def assert_unreachable(url: str, because: str = "") -> Workspace:
    """A run says in one line that the API is not reached, and why; its sessions stay pending."""
    workspace = Workspace.open()
    drop(workspace, "ids.txt", "\n".join(ORDINARY))
    with pytest.raises(ApiUnreachableError) as failure:
        ask(workspace)
    assert f"{url}/api/v1/vm/buy/status" in str(failure.value)
    assert because in str(failure.value)
    assert len(str(failure.value).splitlines()) == 1
    assert KEY not in str(failure.value)
    build(workspace, *READ)
    assert lake_rows(workspace, "SELECT status, count(*), min(poll_count) > 0 FROM purchases GROUP BY 1") == [
        ("pending", len(ORDINARY), True)
    ]
    assert lake_rows(workspace, "SELECT count(*) FROM data_issues") == [(0,)]
    return workspace


def test_a_name_that_does_not_resolve_is_said_in_one_line_and_loses_nothing(configure):
    configure(
        env="production",
        api_url="https://api.invalid",
        api_key=KEY,
        poll_budget=0.5,
        requests_per_second=0,
        request_timeout=5,
    )
    assert_unreachable("https://api.invalid")


def test_a_refused_connection_is_said_in_one_line_and_the_next_run_carries_on(configure):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    configure(env="production", api_url=url, api_key=KEY, poll_budget=0.5, requests_per_second=0)
    workspace = assert_unreachable(url, "no connection: ")
    with serve(simulator({}), port):
        derive(workspace, PURCHASES)
    assert lake_rows(workspace, "SELECT status, count(*) FROM purchases GROUP BY 1") == [("fulfilled", len(ORDINARY))]


LOOPBACK = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


@pytest.mark.parametrize(
    ("host", "days", "is_trusted", "because"),
    [
        (LOOPBACK, 1, False, "self-signed certificate"),
        (x509.DNSName("elsewhere.example"), 1, True, "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        (LOOPBACK, -1, True, "certificate has expired"),
    ],
    ids=["self-signed", "another host's", "expired"],
)
def test_a_certificate_that_is_not_to_be_trusted_ends_the_run_before_anything_is_sent(
    host, days, is_trusted, because, raw_api, configure, monkeypatch, tmp_path
):
    server = raw_api(RawServer(as_it_should, tls=certificate(tmp_path / "server.pem", host, days)))
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    configure(poll_budget=0.5)
    url = Workspace.open().settings.base_url
    assert url is not None
    assert_unreachable(url, f"the server's certificate is not trusted: {because}")
    assert server.received == b""


def test_a_certificate_that_the_machine_trusts_is_accepted(raw_api, monkeypatch, tmp_path):
    server = raw_api(RawServer(as_it_should, tls=certificate(tmp_path / "server.pem", LOOPBACK)))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    assert_refresh_brings({})
    assert KEY.encode() in server.received
