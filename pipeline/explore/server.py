"""Serves the page with marimo, and guards what a browser may ask of it and load from elsewhere.

marimo's server answers every origin and sets no policy. Therefore each request must name this host, and come from this
page or from no page at all, and each answer forbids the browser to load anything from elsewhere.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import re
import secrets
import socket
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.explore import ExploreError, images
from pipeline.explore.edition import current_edition
from pipeline.storage.data_directory import DataDirectory

APP = Path(__file__).with_name("app.py")
_TOKEN_BYTES = 24
_INLINE_SCRIPT = re.compile(rb"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL)
_POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self' blob: {scripts}",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "frame-src 'self'",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)


def require_marimo() -> None:
    """Raises ExploreError if marimo is not installed."""
    if importlib.util.find_spec("marimo") is None:
        raise ExploreError(
            "`phygitals explore` needs marimo: install the release's requirements-explore.lock, or run "
            "`pip install 'phygitals-pipeline[explore]'`"
        )


def serve(data: DataDirectory, host: str, port: int, on_ready: Callable[[str], object]) -> None:
    """Serves the page until the process is interrupted; `on_ready` gets its URL as soon as it answers.

    On another host than loopback, the URL has a token that nobody else knows. Raises ExploreError, PublishError and
    StoreError.
    """
    require_marimo()
    import uvicorn

    current_edition(data)
    token = None if is_loopback(host) else secrets.token_urlsafe(_TOKEN_BYTES)
    with _listening(host, port) as listener:
        name = f"[{host}]" if ":" in host else host
        url = f"http://{name}:{listener.getsockname()[1]}/"
        config = uvicorn.Config(application(token), log_level="error", lifespan="off", timeout_graceful_shutdown=1)
        on_ready(f"{url}?access_token={token}" if token else url)
        uvicorn.Server(config).run(sockets=[listener])


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def application(token: str | None) -> ASGIApp:
    """The guarded page as an ASGI application; with a token, for those who have it."""
    import marimo

    made = marimo.create_asgi_app(quiet=True, token=token, skew_protection=True)
    return Guard(made.with_app(path="", root=str(APP)).build(), is_local=token is None)


class Guard:
    """Refuses requests of other pages and to other hosts, and forbids the browser to load from elsewhere."""

    def __init__(self, app: ASGIApp, is_local: bool) -> None:
        self._app = app
        self._is_local = is_local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif refusal := self._refusal(Headers(scope=scope)):
            await _refuse(refusal, scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == images.PATH:
            await _frame(Request(scope))(scope, receive, send)
        elif scope["type"] == "http":
            await self._app(_whole_page(scope), receive, _with_policy(send))
        else:
            await self._app(scope, receive, send)

    def _refusal(self, headers: Headers) -> str | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        name = _parts_of(f"//{host}").hostname or ""
        if self._is_local and not is_loopback(name):  # a name of somebody else's that leads here
            return "this page is served on loopback only"
        if origin is not None and _parts_of(origin).netloc != host:
            return "another page asks"
        return None


def _parts_of(url: str) -> SplitResult:
    """The parts of a URL; all are empty if it is none."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


async def _refuse(words: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": words})
    else:
        await PlainTextResponse(words, status_code=403)(scope, receive, send)


def _frame(request: Request) -> Response:
    link = images.safe_link(request.query_params.get("link"))
    if link is None:
        return PlainTextResponse("this is no https link to an image", status_code=404)
    document, policy = images.frame(link)
    headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    return Response(document, media_type="text/html", headers=headers)


def _whole_page(scope: Scope) -> Scope:
    """A request for a page without its conditions: "not modified" has no scripts that the policy could name."""
    if "text/html" not in Headers(scope=scope).get("accept", ""):
        return scope
    headers = [
        (name, value) for name, value in scope["headers"] if name not in (b"if-none-match", b"if-modified-since")
    ]
    return {**scope, "headers": headers}


def _with_policy(send: Send) -> Send:
    """Sends an answer with the policy. A page is held back until its scripts are known, which the policy names."""
    held: list[Message] = []

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start" and not _is_page(message):
            _set_policy(message, b"")
            await send(message)
        elif message["type"] == "http.response.start" or held:
            held.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                _set_policy(held[0], b"".join(each.get("body", b"") for each in held[1:]))
                for each in held:
                    await send(each)
        else:
            await send(message)

    return guarded


def _is_page(message: Message) -> bool:
    return Headers(raw=message["headers"]).get("content-type", "").startswith("text/html")


def _set_policy(message: Message, page: bytes) -> None:
    hashes = [b64encode(sha256(script).digest()).decode() for script in _INLINE_SCRIPT.findall(page)]
    headers = MutableHeaders(raw=message["headers"])
    headers["Content-Security-Policy"] = _POLICY.format(scripts=" ".join(f"'sha256-{each}'" for each in hashes))
    headers["Referrer-Policy"] = "no-referrer"
    headers["X-Content-Type-Options"] = "nosniff"
    message["headers"] = headers.raw


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise ExploreError(f"{host}:{port} cannot be used: {error}; choose another --port or --host") from error
