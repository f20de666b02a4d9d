"""An event loop with a virtual clock, which advances only when every task waits.

A day of polling takes only the time of its computations, and is repeatable. For code that takes the time from the event
loop, and its answers from coroutines such as those of `virtual_api`.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class DeadlockError(Exception):
    """Every task waits, and no timer is set."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Time starts at 0 seconds. Work for a thread runs immediately and takes no virtual time."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_JumpingSelector(self))
        self.set_default_executor(_InlineExecutor())

    def time(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


class _JumpingSelector(selectors.SelectSelector):
    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise DeadlockError("every task waits, and no timer is set")
        self._loop.advance(max(0.0, timeout))
        return []


class _InlineExecutor(ThreadPoolExecutor):
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future
