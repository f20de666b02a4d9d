"""A raw server in the place of the API, and the answers that it gives."""

from __future__ import annotations

import contextlib
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pipeline.schema.findings import DATA_ISSUES
from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.schema.staging import ITEM_ATTRIBUTES, PULLS, PURCHASES
from pipeline.schema.table import Table
from pipeline.simulator.server import Reply, Simulator
from pipeline.steps import Workspace
from pipeline.storage.connection import connect
from tests.support.answers import fulfilled
from tests.support.raw_server import (
    Act,
    RawServer,
    response,
    says,
    serve_raw,
)
from tests.support.workspace import KEY, derive, drop, lake_rows

Said = tuple[str, str | None]  # an answer's outcome and detail


def as_it_should(session_id: str) -> Act:
    return says(response(fulfilled(session_id).body))


@pytest.fixture
def raw_api(configure) -> Iterator[Callable[[RawServer], RawServer]]:
    """Serves a raw server and points the production environment at it, as `api` does with a simulator."""
    with contextlib.ExitStack() as servers:

        def start(server: RawServer) -> RawServer:
            configure(
                env="production",
                api_url=servers.enter_context(serve_raw(server)),
                api_key=KEY,
                requests_per_second=0,
                poll_interval=0.02,
                poll_budget=30,
                request_timeout=10,
            )
            return server

        yield start


def said(workspace: Workspace, table: Table = STATUS_RESPONSES) -> dict[str, list[Said]]:
    """What a raw table of answers has, by id. Behind the colon of a detail are a library's own words."""
    found = raw(workspace, "session_id, outcome, detail", "true ORDER BY received_at", table)
    answers: dict[str, list[Said]] = {}
    for session_id, outcome, detail in found:
        answers.setdefault(session_id, []).append((outcome, detail and detail.partition(": ")[0]))
    return answers


def raw(workspace: Workspace, columns: str, condition: str, table: Table = STATUS_RESPONSES) -> list[tuple[Any, ...]]:
    with connect(workspace.data) as connection:
        responses = workspace.data.store.scan(table)
        return connection.execute(f"SELECT {columns} FROM {responses} WHERE {condition}").fetchall()


def certificate(path: Path, host: x509.GeneralName, days: int = 1) -> ssl.SSLContext:
    """Writes a self-signed certificate and its key; returns a server's context with them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "strange")])
    today = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - timedelta(days=30))
        .not_valid_after(today + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([host]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(signed.public_bytes(serialization.Encoding.PEM) + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


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
