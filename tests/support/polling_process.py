"""Polling in a process of its own, and the times at which requests arrive."""

from __future__ import annotations

import threading
import time

POLL = """
from pipeline.schema.raw import PENDING_SESSIONS
from pipeline.steps import Workspace
workspace = Workspace.open()
workspace.take_in()
with workspace.builder() as builder:
    builder.build(PENDING_SESSIONS)
workspace.poll(lambda progress: None)
"""


class Arrivals:
    """When the server saw each request; `reached` is set at the count that a test waits for."""

    def __init__(self, wanted: int = 0) -> None:
        self.times: list[tuple[float, str]] = []
        self.reached = threading.Event()
        self._wanted = wanted

    def __call__(self, _request: object, session_id: str) -> None:
        self.times.append((time.monotonic(), session_id))
        if len(self.times) == self._wanted:
            self.reached.set()
