"""A webhook on loopback, whose URL is a secret."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

SECRET = "T0PSECRET-webhook-path"


class Receiver:
    """A webhook on loopback that keeps what it is sent, and answers with `status`, or only when `silence` is over."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.messages: list[dict[str, str]] = []
        self.silence = threading.Event()
        self.silence.set()

    def serve(self) -> ThreadingHTTPServer:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                receiver.silence.wait(60)
                self.send_response(receiver.status)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def receiver() -> Iterator[tuple[Receiver, str]]:
    receiver = Receiver()
    server = receiver.serve()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield receiver, f"http://127.0.0.1:{server.server_port}/{SECRET}"
    receiver.silence.set()
    server.shutdown()
    thread.join()
    server.server_close()
