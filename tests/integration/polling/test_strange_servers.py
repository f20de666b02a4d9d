"""Servers that misbehave, over real HTTP: each strange answer gets its meaning, is counted and asked again,
costs a bounded amount of memory and time, and harms none of the sessions that are asked beside it."""

from __future__ import annotations

import gzip
import ipaddress
import random
import socket

import pytest
from cryptography import x509

from pipeline.polling.refusals import ApiUnreachableError
from pipeline.schema.staging import PURCHASES
from pipeline.simulator.server import Reply
from pipeline.simulator.service import serve
from pipeline.steps import Workspace
from tests.support.answers import fulfilled
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
from tests.support.strange_servers import (
    FULFILLED,
    GZIP,
    HEAD,
    ORDINARY,
    READ,
    as_it_should,
    assert_refresh_brings,
    certificate,
    malformed,
    simulator,
    transient,
)
from tests.support.workspace import KEY, ask, build, derive, drop, lake_rows

pytestmark = pytest.mark.timeout(60)


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


def test_a_failure_that_is_said_and_unsaid_is_no_failure(api):
    api(simulator({"two-errors": Reply(400, b'{"error": "Pending", "error": "Transaction failed"}')}))
    assert_refresh_brings({"two-errors": [("refused", "HTTP 400"), FULFILLED]})


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
