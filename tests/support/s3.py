"""An S3 server for tests: moto, over HTTP on loopback, with a log of its requests and with faults on demand."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import httpx
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test-access-key",
    "AWS_SECRET_ACCESS_KEY": "s3-secret-0f1e2d3c",
    "AWS_REGION": "us-east-1",
}


class Request(NamedTuple):
    """A request as the server saw it: method, path with query, and the bytes of both bodies."""

    method: str
    path: str
    sent: int
    received: int


class Fault(NamedTuple):
    """An answer in place of the server's own: a status and S3's code for it."""

    status: str
    code: str = ""


class S3Server:
    """The server's `requests`, and `fault`, which may answer a request by method and path instead of the server."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.fault: Callable[[str, str], Fault | None] = lambda _method, _path: None
        self._app = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        method, query = environ["REQUEST_METHOD"], environ["QUERY_STRING"]
        path = environ["PATH_INFO"] + (f"?{query}" if query else "")
        sent = int(environ.get("CONTENT_LENGTH") or 0)
        if fault := self.fault(method, path):
            body = f"<Error><Code>{fault.code}</Code></Error>".encode()
            environ["wsgi.input"].read(sent)
            start_response(fault.status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
            self.requests.append(Request(method, path, sent, len(body)))
            return [body]
        pieces = list(self._app(environ, start_response))
        self.requests.append(Request(method, path, sent, sum(map(len, pieces))))
        return pieces

    @contextlib.contextmanager
    def serving(self, port: int = 0) -> Iterator[str]:
        """The URL at which it is served during the block, at a free port unless one is given."""
        server = make_server("127.0.0.1", port, self, threaded=True, request_handler=_Quiet)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _Quiet(MotoRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: Any) -> None:
        """The requests are in the server's list."""


def make_bucket(endpoint: str, name: str) -> None:
    """Makes an empty bucket; the server takes requests without a signature."""
    httpx.put(f"{endpoint}/{name}").raise_for_status()
