"""Writes on a separate thread while the producer continues."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class WriteBehind:
    """Runs steps in order on one thread, with at most `steps_behind` unfinished steps.

    Use as a context manager. A later `submit`, or the end of the block, raises the error of a step.
    """

    def __init__(self, steps_behind: int) -> None:
        self._steps_behind = steps_behind
        self._waiting: deque[Future[Any]] = deque()
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> WriteBehind:
        return self

    def submit(self, step: Callable[..., object], *arguments: object) -> None:
        """Queues the step; waits first while the queue is full."""
        while len(self._waiting) >= self._steps_behind:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(step, *arguments))

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        try:
            while self._waiting and failed is None:
                self._waiting.popleft().result()
        finally:
            self._thread.shutdown(cancel_futures=True)
