"""The simulator's HTTP server, in two modes.

`sandbox` fulfils at once and never answers pending; `production` keeps a session pending for a while, holds such calls,
fails some purchases, and has transient faults at a configurable rate.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from aiohttp import web

from pipeline.endpoint import STATUS_PATH
from pipeline.simulator import catalogue
from pipeline.simulator.limiters import Limiter, SlidingWindow, Unlimited

Mode = Literal["sandbox", "production"]

DEFAULT_SEED = 20_26
_TRANSIENT_FAULTS = ("broken", "dropped", "garbled", "cut")


@dataclass(frozen=True)
class Reply:
    """A scripted answer, byte for byte.

    `is_dropped` closes the connection instead. `declared_length` is a Content-Length above the length of the body, for
    a truncated answer. `hold` is the seconds to wait before the answer.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    is_dropped: bool = False
    declared_length: int | None = None
    hold: float = 0.0

    @classmethod
    def json(cls, document: object, status: int = 200) -> Reply:
        return cls(status, json.dumps(document).encode())


PENDING = Reply.json({"status": "pending"})
FAILED = Reply.json({"error": "Transaction failed"}, 400)


@dataclass
class Simulator:
    """Answers buy/status.

    `scripts` has a sequence of answers for chosen sessions; the last answer repeats. `delay_scale` multiplies the time
    until a session is final; 0 makes all sessions final at once. `known` decides which sessions exist; unknown ones get
    a 400 in both modes. `hold` is the time in seconds for which a pending session's call is held; the API holds about
    six. `fault_rate` is the share of calls with a transient fault. `rate_limit` is the number of calls served in any
    one second, 0 for all; the others get a 429. A `limiter` replaces `rate_limit`. `retry_after` is the header of a 429
    in seconds; None for no header. Every call must have the `key`, if set.
    """

    mode: Mode = "production"
    seed: int = DEFAULT_SEED
    fault_rate: float = 0.0
    hold: float = 6.0
    delay_scale: float = 1.0
    rate_limit: int = 0
    limiter: Limiter | None = None
    retry_after: int | None = 1
    key: str | None = None
    prefix: str = "/api/v1"
    known: Callable[[str], bool] = lambda _: True
    scripts: Mapping[str, Sequence[Reply]] = field(default_factory=dict)
    on_request: Callable[[web.Request, str], None] = lambda _request, _session_id: None

    def __post_init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self._first_asked: dict[str, float] = {}
        self._rng = random.Random(self.seed)
        self._limiter = self.limiter or (SlidingWindow(self.rate_limit) if self.rate_limit else Unlimited())

    def application(self) -> web.Application:
        application = web.Application(client_max_size=64 * 1024)
        application.router.add_post(self.prefix + STATUS_PATH, self._status)
        return application

    async def _status(self, request: web.Request) -> web.StreamResponse:
        if self.key is not None and request.headers.get("X-API-Key") != self.key:
            return await self._send(request, Reply.json({"error": "Invalid API key"}, 401))
        try:
            document = await request.json()
        except ValueError:
            return await self._send(request, Reply.json({"error": "Invalid request body"}, 422))
        session_id = document.get("session_id") if isinstance(document, dict) else None
        if not isinstance(session_id, str):
            return await self._send(request, Reply.json({"error": "session_id is required"}, 422))
        self.on_request(request, session_id)
        if not self._limiter.admits(time.monotonic()):
            return await self._send(request, self._refusal())
        self.asked[session_id] += 1
        return await self._send(request, await self._reply(session_id))

    async def _reply(self, session_id: str) -> Reply:
        if session_id in self.scripts:
            replies = self.scripts[session_id]
            reply = replies[min(self.asked[session_id], len(replies)) - 1]
            await asyncio.sleep(reply.hold)
            return reply
        if not self.known(session_id):
            return FAILED
        fate = catalogue.session(self.seed, session_id, self.mode == "sandbox")
        fulfilled = Reply.json({"result": fate.result})
        if self.mode == "sandbox":
            return fulfilled
        if self._rng.random() < self.fault_rate:
            return self._fault(fulfilled)
        if fate.is_stuck:
            await asyncio.sleep(self.hold)
            return PENDING
        started = fate.started_at or self._first_asked.setdefault(session_id, time.time())
        remaining = started + fate.delay * self.delay_scale - time.time()
        await asyncio.sleep(max(0.0, min(remaining, self.hold)))
        if remaining > self.hold:
            return PENDING
        return FAILED if fate.is_failed else fulfilled

    def _refusal(self) -> Reply:
        reply = Reply.json({"message": "Rate limit exceeded"}, 429)
        if self.retry_after is not None:
            reply.headers["Retry-After"] = str(self.retry_after)
        return reply

    def _fault(self, reply: Reply) -> Reply:
        match self._rng.choice(_TRANSIENT_FAULTS):
            case "broken":
                return Reply.json({"error": "An unexpected error occurred"}, 500)
            case "dropped":
                return Reply(is_dropped=True)
            case "garbled":
                return Reply(502, b"<html><body>Bad gateway</body></html>", {"Content-Type": "text/html"})
            case _:
                return Reply(200, reply.body[: len(reply.body) // 2], declared_length=len(reply.body))

    @staticmethod
    async def _send(request: web.Request, reply: Reply) -> web.StreamResponse:
        transport = request.transport
        if reply.is_dropped and transport is not None:
            transport.close()
            return web.Response()
        if reply.declared_length is None:
            return web.Response(status=reply.status, body=reply.body, headers=reply.headers)
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        response.content_length = reply.declared_length
        await response.prepare(request)
        await response.write(reply.body)
        if transport is not None:
            transport.close()
        return response
