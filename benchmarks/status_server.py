"""A cheap server of buy/status that answers at once, and the sessions to poll.

Sessions of the history (UUIDs of version 7, as `phygitals simulate` makes them) get the final answers of the bundled
simulator. New sessions (version 4) get one of two thousand of its answers with ids of their own, because generating
each answer would make the server slower than the measured clients. It supports only the HTTP of keep-alive connections.
"""

from __future__ import annotations

import asyncio
import csv
import json
import multiprocessing
import random
import socket
import time
import uuid
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.endpoint import STATUS_PATH
from pipeline.simulator import catalogue
from pipeline.simulator.server import DEFAULT_SEED, FAILED
from pipeline.sources.columns import COLUMNS

PATH = f"/api/v1{STATUS_PATH}"
_TEMPLATES = 2_000
_ID, _TWELVE, _ONE = "<id>", "<12>", "<1>"  # placeholders of a template: the id, and characters derived from it
_TO_BASE58 = str.maketrans("0abcdef", "GABCDEF")  # hexadecimal digits to characters of an address
_CAPACITY_REQUESTS, _CAPACITY_CONNECTIONS = 20_000, 50


class Answer(NamedTuple):
    """An HTTP status with its reason, and a body."""

    status: str
    body: bytes

    @property
    def message(self) -> bytes:
        head = f"HTTP/1.1 {self.status}\r\nContent-Type: application/json\r\nContent-Length: {len(self.body)}\r\n\r\n"
        return head.encode() + self.body


_FAILED = Answer("400 Bad Request", FAILED.body)


@cache
def _fates() -> list[catalogue.SimulatedSession]:
    return [catalogue.session(DEFAULT_SEED, f"template {i}", is_sandbox=False) for i in range(_TEMPLATES)]


@cache
def _templates() -> list[Answer]:
    return [_FAILED if fate.is_failed else _fulfilled(_with_places(fate.result)) for fate in _fates()]


def _fulfilled(result: dict[str, Any]) -> Answer:
    return Answer("200 OK", json.dumps({"result": result}).encode())


def _with_places(result: dict[str, Any]) -> dict[str, Any]:
    own = {"session_id": _ID, "public_id": f"_{_TWELVE}", "tx_hash": result["tx_hash"][:-12] + _TWELVE}
    return {**result, **own, "nfts": [_item_with_places(item, number) for number, item in enumerate(result["nfts"])]}


def _item_with_places(item: dict[str, Any], number: int) -> dict[str, Any]:
    if item["mint_address"] is None:
        return {**item, "id": f"v1|{_TWELVE}|{number}"}
    mint = item["mint_address"][:-1] + _ONE  # few suffixes, so that some items are pulled again
    return {**item, "id": mint, "mint_address": mint}


def _template_of(session_id: str) -> int:
    return int(session_id[:8], 16) % _TEMPLATES


def answer(session_id: str) -> Answer:
    """The server's answer for a session, the same for every request."""
    if uuid.UUID(session_id).version == 7:
        fate = catalogue.session(DEFAULT_SEED, session_id, is_sandbox=False)
        return _FAILED if fate.is_failed else _fulfilled(fate.result)
    status, body = _templates()[_template_of(session_id)]
    own = session_id[-12:].translate(_TO_BASE58).encode()
    body = body.replace(_ID.encode(), session_id.encode()).replace(_TWELVE.encode(), own)
    return Answer(status, body.replace(_ONE.encode(), own[-1:]))


def write_submissions(path: Path, rng: random.Random, count: int, is_fulfilled: bool = False) -> list[str]:
    """Writes a CSV file of new sessions of the last hour and returns their ids. With `is_fulfilled`, none fails."""
    now = datetime.now(UTC)
    written: list[str] = []
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        while len(written) < count:
            session_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
            fate = _fates()[_template_of(session_id)]
            if is_fulfilled and fate.is_failed:
                continue
            initiated = now - timedelta(hours=rng.random())
            rows.writerow(
                [session_id, initiated.isoformat(), fate.pack.id, fate.price, fate.quantity, fate.result["user_id"]]
            )
            written.append(session_id)
    return written


class _Connection(asyncio.Protocol):
    """One connection. It answers each request once it is complete."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            if len(self._received) < end + 4 + length:
                return
            body, self._received = self._received[end + 4 : end + 4 + length], self._received[end + 4 + length :]
            self._transport.write(answer(json.loads(body)["session_id"]).message)


def serve(port: multiprocessing.Queue[int]) -> None:
    """Serves on a free loopback port until the process is killed. Puts the port into the queue."""

    async def run() -> None:
        _templates()
        server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0, backlog=4096)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def capacity(port: int) -> float:
    """Requests per second that the server answers to a minimal client with several connections."""
    fulfilled = next(i for i, template in enumerate(_templates()) if template is not _FAILED)
    session_id = str(uuid.UUID(int=fulfilled << 96, version=4))
    body = json.dumps({"session_id": session_id}).encode()
    request = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    expected = len(answer(session_id).message)
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(_CAPACITY_CONNECTIONS)]
    started = time.perf_counter()
    for _ in range(_CAPACITY_REQUESTS // _CAPACITY_CONNECTIONS):
        for connection in connections:
            connection.sendall(request)
        for connection in connections:
            missing = expected
            while missing:
                missing -= len(connection.recv(missing))
    seconds = time.perf_counter() - started
    for connection in connections:
        connection.close()
    return _CAPACITY_REQUESTS / seconds
