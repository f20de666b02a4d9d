"""Polling that several processes share, on one machine or on several.

The run that holds the data directory's lock begins a round and polls the first shard. Every other shard is polled by
whoever takes its lock first: a run that Dagster started on a worker, or a process that this run starts. A session
belongs to one shard, and the shares of the request ceiling add up to it exactly. A shard whose process dies is started
again, and the others go on.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import uuid
import zlib
from collections.abc import Callable
from datetime import datetime
from types import TracebackType

import msgspec

from pipeline.errors import PipelineError
from pipeline.polling.answers import Outcome
from pipeline.polling.pending import PendingSessions
from pipeline.polling.progress import Exit, Progress
from pipeline.settings import Settings, most_shards
from pipeline.storage.data_directory import DataDirectory

ROUND = "polling_round"  # the record of the round under way
LEAST_SESSIONS = 100  # of a shard; a process for fewer costs more than it saves
_TRIES = 3  # processes of one shard
_BETWEEN_LOOKS = 1.0  # seconds
_BETWEEN_REMOTE_LOOKS = 5.0
_ENDS_WITHIN = 60.0  # seconds after the budget: the last requests, and sealing their answers


class Round(msgspec.Struct, frozen=True):
    """One round of polling: its shards, the end of its poll budget in seconds since the epoch, and its limits.

    The limits are those of the run that began it: another deployment that shares the lake may have others.
    """

    id: str
    shard_count: int
    ends_at: float
    rate_ceiling: float
    max_concurrency: int


class RoundOverError(PipelineError):
    """The run that began the round has ended, so its shards stop. Received answers are kept."""


class _Result(msgspec.Struct, frozen=True):
    round_id: str
    total: int
    seconds: float
    requests: int
    outcomes: dict[str, int]
    exit: str | None
    wait_until: datetime | None
    waiting: dict[str, datetime]


def shard_count(settings: Settings, session_count: int) -> int:
    """The number of shards for so many sessions, at most `poll_shards`."""
    return max(1, min(settings.poll_shards, session_count // LEAST_SESSIONS))


def sessions_of(sessions: PendingSessions, shard: int, count: int) -> PendingSessions:
    """The sessions of one shard. The assignment is the same on every machine and in every version."""
    if count == 1:
        return sessions
    return sessions.chosen(lambda session_id: zlib.crc32(session_id.encode()) % count == shard)


def share_of(settings: Settings, shard: int, count: int, budget: float | None = None) -> Settings:
    """The settings of one shard: its shares of the request ceiling and of the requests in flight."""
    ceiling = settings.rate_ceiling
    return settings.model_copy(
        update={
            # One below 1 has no whole shares, but is no reason to poll without a ceiling.
            "requests_per_second": ceiling if count == 1 else float(_share(int(ceiling), shard, count)),
            "max_concurrency": max(1, _share(settings.max_concurrency, shard, count)),
            "poll_budget": settings.poll_budget if budget is None else budget,
        }
    )


def within_limits(settings: Settings, of_round: Round) -> Settings | None:
    """The settings with the lower limits of theirs and the round's; None if they are too low for so many shards."""
    ceilings = [ceiling for ceiling in (settings.rate_ceiling, of_round.rate_ceiling) if ceiling]
    ceiling = min(ceilings, default=0.0)
    concurrency = min(settings.max_concurrency, of_round.max_concurrency)
    # A share of 0 would be none of the ceiling, and so no ceiling.
    if of_round.shard_count > most_shards(ceiling, concurrency):
        return None
    return settings.model_copy(update={"requests_per_second": ceiling, "max_concurrency": concurrency})


def _share(whole: int, shard: int, count: int) -> int:
    return whole // count + (shard < whole % count)


def round_under_way(data: DataDirectory) -> Round | None:
    """The round of the run that holds the lock now; None if there is none."""
    return data.records.load(ROUND, Round) if data.is_being_written() else None


def note_result(data: DataDirectory, shard: int, of_round: Round, progress: Progress) -> None:
    """Saves the result of a shard for the run that began the round. Raises DataDirectoryError."""
    result = _Result(
        of_round.id,
        progress.total,
        progress.seconds,
        progress.requests,
        {outcome.value: count for outcome, count in progress.outcomes.items()},
        progress.exit and progress.exit.value,
        progress.wait_until,
        progress.waiting,
    )
    data.records.load(_result_name(shard), _Result)
    data.records.save(_result_name(shard), msgspec.to_builtins(result))


def result_of(data: DataDirectory, shard: int, of_round: Round) -> Progress | None:
    """The result of a shard in this round; None if there is none yet."""
    found = data.records.load(_result_name(shard), _Result)
    if found is None or found.round_id != of_round.id:
        return None
    progress = Progress(
        found.total,
        found.seconds,
        found.requests,
        exit=Exit(found.exit) if found.exit else None,
        wait_until=found.wait_until,
        waiting=found.waiting,
    )
    progress.outcomes.update({Outcome(name): count for name, count in found.outcomes.items()})
    return progress


def _result_name(shard: int) -> str:
    return f"polling_shard_{shard}"


def merged(shards: list[Progress]) -> Progress:
    """The progress of the whole round."""
    whole = Progress(sum(shard.total for shard in shards), max(shard.seconds for shard in shards))
    for shard in shards:
        whole.requests += shard.requests
        whole.outcomes.update(shard.outcomes)
        whole.waiting |= shard.waiting
    waits = [shard.wait_until for shard in shards if shard.wait_until]
    whole.wait_until = max(waits) if waits else None
    exits = [shard.exit for shard in shards]
    whole.exit = next((e for e in (Exit.ASKED_TO_WAIT, Exit.BUDGET_USED, Exit.SESSIONS_WAIT) if e in exits), exits[0])
    return whole


class RoundWatch:
    """Watches from within a shard whether its round is still under way. Use as a context manager."""

    def __init__(self, data: DataDirectory, of_round: Round) -> None:
        self._data = data
        self._round = of_round
        self._is_over = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="round", daemon=True)

    def __enter__(self) -> RoundWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def check(self) -> None:
        """Raises RoundOverError."""
        if self._is_over:
            raise RoundOverError("the run that this shard belongs to has ended; received answers are kept")

    def _watch(self) -> None:
        while not self._done.wait(_between_looks(self._data)):
            try:
                found = round_under_way(self._data)
            except PipelineError:
                continue  # the object store is away; the lease of the shard decides
            if found is None or found.id != self._round.id:
                self._is_over = True
                return


class OtherShards:
    """The shards of a round but the first, seen by the run that began it. Use as a context manager, with the lock held.

    A shard that nobody has taken after `claim_within` seconds is started here, as a process of its own.
    """

    def __init__(
        self,
        data: DataDirectory,
        settings: Settings,
        count: int,
        claim_within: float,
        on_line: Callable[[str], object],
    ) -> None:
        self._data = data
        self._round = Round(
            uuid.uuid4().hex,
            count,
            time.time() + settings.poll_budget,
            settings.rate_ceiling,
            settings.max_concurrency,
        )
        self._on_line = on_line
        self._claimed_by = time.monotonic() + claim_within
        self._missing = set(range(1, count))
        self._found: dict[int, Progress] = {}
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._tries: dict[int, int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="shards", daemon=True)

    def __enter__(self) -> OtherShards:
        if self._missing:
            self._data.records.load(ROUND, Round)
            self._data.records.save(ROUND, msgspec.to_builtins(self._round))
            self._thread.start()
        return self

    def results(self) -> list[Progress]:
        """Waits for the other shards; the sessions of a shard that did not end stay pending."""
        if self._thread.is_alive():
            self._thread.join(max(0.0, self._round.ends_at - time.time()) + _ENDS_WITHIN)
        for shard in sorted(self._missing):
            self._on_line(f"polling shard {shard} of {self._round.shard_count} did not end; its sessions stay pending")
        return list(self._found.values())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._round.shard_count == 1:
            return
        self._over.set()
        self._thread.join()
        try:
            self._data.records.forget(ROUND)
        finally:
            for process in self._processes.values():
                process.terminate()  # a process that has ended does not mind; another seals its answers and ends
            for process in self._processes.values():
                process.wait()

    def _watch(self) -> None:
        while self._missing and not self._over.is_set():
            for shard in sorted(self._missing):
                try:
                    self._look_at(shard)
                except PipelineError as error:
                    self._on_line(f"polling shard {shard}: {error}")
            self._over.wait(_between_looks(self._data))

    def _look_at(self, shard: int) -> None:
        if progress := result_of(self._data, shard, self._round):
            self._found[shard] = progress
            self._missing.discard(shard)
            return
        process = self._processes.get(shard)
        if time.monotonic() < self._claimed_by or (process and process.poll() is None):
            return
        if self._data.shard(shard).is_being_written() or time.time() >= self._round.ends_at:
            return
        tries = self._tries[shard] = self._tries.get(shard, 0) + 1
        if tries > _TRIES:
            return
        command = [sys.executable, "-m", "pipeline.cli.main", "poll-shard", str(shard)]
        self._processes[shard] = subprocess.Popen(  # noqa: S603 (the command is this product's own)
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True
        )


def _between_looks(data: DataDirectory) -> float:
    return _BETWEEN_REMOTE_LOOKS if data.storage.is_remote else _BETWEEN_LOOKS
