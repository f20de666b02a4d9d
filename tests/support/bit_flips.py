"""Data directories with answers, and damage to their files."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipeline.schema.raw import STATUS_RESPONSES
from pipeline.sources.inbox import Inbox
from pipeline.sources.intake import take_in
from pipeline.sources.kinds import SESSIONS
from pipeline.storage import raw_log
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.raw_log import Response, ResponseLog
from tests.support.answers import fulfilled
from tests.support.journals import kill

SEED = 20261128
MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = MOMENT + timedelta(days=1)


def answers(count: int, first: int = 0) -> list[Response]:
    """Fulfilled answers, with one that never came."""
    at = int(MOMENT.timestamp() * 1_000_000)
    item = {"id": "i", "type": "enft", "buyback_price": 40, "content": {"metadata": {"name": "Glimmerwing"}}}
    found = [
        Response(f"s{i}", at + i, at + i + 5, 200, "application/json", fulfilled(f"s{i}", item).body, "fulfilled", None)
        for i in range(first, first + count)
    ]
    return [*found, Response(f"t{first}", at, at, None, None, None, "transient", "broke off")]


def filled(root: Path, batches: int = 4) -> DataDirectory:
    """A data directory with submissions, and answers in a journal of several batches, as a killed run leaves it."""
    data = DataDirectory(root)
    data.claim("local", "none")
    (data.inbox / "a.csv").write_text("session_id,pack_id,price_usd\n" + "".join(f"s{i},p,10\n" for i in range(40)))
    with data.exclusive():
        take_in(data, lambda: MOMENT, Inbox(data, SESSIONS))
    log = ResponseLog(data, STATUS_RESPONSES, MOMENT)
    for batch in range(batches):
        for response in answers(8, 8 * batch):
            log.append(response)
        log.write(log.take())
    kill(log)
    return data


def raw(data: DataDirectory) -> list[tuple]:
    with connect(data) as connection:
        return connection.execute(f"FROM {data.store.scan(STATUS_RESPONSES)}").fetchall()


def flips(content: bytes, rng: random.Random, count: int) -> Iterator[bytes]:
    """The content with one bit of it flipped, again and again."""
    for _ in range(count):
        at = rng.randrange(len(content))
        yield content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def overwrite(path: Path, content: bytes) -> None:
    """Other bytes under the same size and time, as a disk that fails leaves them."""
    found = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def recovered(data: DataDirectory) -> tuple[list[tuple], list[str]]:
    """What is sealed, and the lines that say what was not."""
    shutil.rmtree(data.root / "raw" / "status_responses" / "2026-03-01", ignore_errors=True)
    with data.exclusive():
        lines = raw_log.recover(data, STATUS_RESPONSES)
    return raw(data), lines
