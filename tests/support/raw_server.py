"""A server that puts whatever bytes a test says on the wire, where the simulator is too well-behaved."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

Act = Callable[[asyncio.StreamWriter], Awaitable[None]]


def response(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """A whole response. Headers are given as `Name: value`."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def chunked(body: bytes, size: int, *headers: str) -> bytes:
    """A whole response in chunks of so many bytes."""
    lines = ["HTTP/1.1 200 OK", "Content-Type: application/json", "Transfer-Encoding: chunked", *headers, "", ""]
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])
    return "\r\n".join(lines).encode() + chunks


def says(data: bytes) -> Act:
    """Sends the bytes and leaves the connection open for the next request."""

    async def act(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return act


def hangs_up_after(data: bytes = b"") -> Act:
    """Sends the bytes and closes the connection."""

    async def act(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        writer.close()

    return act


def goes_on_for_ever(data: bytes, piece: bytes = b"") -> Act:
    """Sends the bytes, then the piece again and again without an end, or nothing at all."""

    async def act(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.005)

    return act


@dataclass
class RawServer:
    """Reads requests as a server should; `scripts` gives chosen ids their acts in turn, the last one for good.

    All other ids get what `otherwise` says. `id_key` is the member of a request's body that has the id. `received` is
    what came in, byte for byte, after TLS.
    """

    otherwise: Callable[[str], Act]
    scripts: Mapping[str, Sequence[Act]] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    id_key: str = "session_id"

    def __post_init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.received = bytearray()
        self.connection_count = 0
        self._connections: set[asyncio.Task[None]] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        self.connection_count += 1
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while not writer.is_closing():
                await self._act(await self._requested_id(reader))(writer)
        self._connections.discard(task)
        writer.close()

    async def stop(self) -> None:
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections)

    async def _requested_id(self, reader: asyncio.StreamReader) -> str:
        head = await reader.readuntil(b"\r\n\r\n")
        self.received += head
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        body = await reader.readexactly(int(length.split(b":")[1]))
        self.received += body
        return str(json.loads(body)[self.id_key])

    def _act(self, requested_id: str) -> Act:
        self.asked[requested_id] += 1
        acts = self.scripts.get(requested_id) or [self.otherwise(requested_id)]
        return acts[min(self.asked[requested_id], len(acts)) - 1]


@contextlib.contextmanager
def serve_raw(server: RawServer) -> Iterator[str]:
    """Serves on a free loopback port until the block ends; yields the base URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="raw server", daemon=True)
    thread.start()

    async def start() -> asyncio.Server:
        return await asyncio.start_server(server.connected, "127.0.0.1", ssl=server.tls, backlog=4096)

    async def stop(listening: asyncio.Server) -> None:
        listening.close()
        await server.stop()

    listening = asyncio.run_coroutine_threadsafe(start(), loop).result()
    try:
        yield f"{'https' if server.tls else 'http'}://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    finally:
        asyncio.run_coroutine_threadsafe(stop(listening), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
