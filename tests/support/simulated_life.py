"""The life of one data directory on a virtual clock: runs of polling, kills, restarts, and what must hold after."""

from __future__ import annotations

import itertools
import json
import random
from array import array
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from pipeline.polling.answers import Answer, Outcome
from pipeline.polling.endpoint import BUY_STATUS, Endpoint
from pipeline.polling.engine import MICROSECONDS, Engine, Limits
from pipeline.polling.pending import NEVER, PendingSessions
from pipeline.polling.progress import Progress
from pipeline.polling.schedule import MAX_INTERVAL, PAUSE_AFTER_HOLD, Schedule
from pipeline.schema.table import Table
from pipeline.simulator.virtual_api import Asked, Conduct, Fate, VirtualApi, status_answer
from pipeline.simulator.virtual_time import VirtualTimeLoop
from pipeline.storage import raw_log
from pipeline.storage.compaction import compact
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.raw_log import Response, ResponseLog

BEGIN = datetime(2026, 3, 1, 23, 50, tzinfo=UTC)  # ten minutes before midnight: runs cross into another day
LONG_AFTER = datetime(2100, 1, 1, tzinfo=UTC)
KEPT_AFTER = 2.0  # seconds after which an answer survives any kill

# A killed process runs no `finally`, so the garbage collector must not run those of a killed loop.
_killed: list[object] = []


class WatchedLog(ResponseLog):
    """Notes when it last synced, in seconds of the loop's clock."""

    def __init__(self, data: DataDirectory, table: Table, loop: VirtualTimeLoop) -> None:
        super().__init__(data, table, BEGIN)
        self._loop = loop
        self.synced_at = loop.time()

    def write(self, responses: list[Response]) -> None:
        super().write(responses)
        self.synced_at = self._loop.time()


class Life:
    """Sessions, the API that decides them, and the directory that keeps what it answered.

    `answer` makes an answer of the endpoint from a session id and an outcome.
    """

    def __init__(
        self,
        data: DataDirectory,
        fates: Mapping[str, Fate],
        ages: Mapping[str, float],
        rng: random.Random,
        endpoint: Endpoint = BUY_STATUS,
        answer: Callable[[str, Outcome], Answer] = status_answer,
    ) -> None:
        self._data = data
        self._fates = fates
        self._ages = ages
        self._rng = rng
        self._endpoint = endpoint
        self._answer = answer
        self._clock = 0.0
        self._requests = 0
        self._must_be_kept: list[Asked] = []

    def run(self, conduct: Conduct, limits: Limits, kill_after: float | None = None) -> Progress | None:
        """Polls what is pending; None when the run was killed, which happens after so many seconds if at all."""
        loop = VirtualTimeLoop()
        loop.advance(self._clock)
        api = VirtualApi(self._fates, conduct, self._rng, self._requests, self._answer)
        log = WatchedLog(self._data, self._endpoint.table, loop)
        engine = Engine(
            self._endpoint, api.ask, log, limits, "virtual", lambda: _microseconds(loop.time()), lambda _: None
        )
        task = loop.create_task(engine.run(Schedule(self._sessions(), limits.poll_interval, self._rng)))
        task.add_done_callback(lambda _: loop.stop())
        if kill_after is not None:
            loop.call_later(kill_after, loop.stop)
        loop.run_forever()
        self._check_run(api, limits, conduct, loop.time())
        self._clock, self._requests = loop.time(), self._requests + len(api.sent_at)
        answers = [(asked, asked.answered_at) for asked in api.requests if asked.answered_at is not None]
        if task.done():
            log.close()
            loop.close()
            self._must_be_kept += [asked for asked, _ in answers]
            return task.result()
        _killed.append((loop, task, engine))
        self._must_be_kept += [asked for asked, at in answers if at < log.synced_at]
        self._must_be_kept += [asked for asked, at in answers if at <= self._clock - KEPT_AFTER]
        self._tear(log)
        return None

    def recover(self) -> None:
        """The next run's first act. Now and then it is killed when the objects are written, and done again.

        Now and then the days so far are merged, or what was merged is deleted.
        """
        journals = {path: path.read_bytes() for path in self._data.journal(self._endpoint.table).glob("*.journal")}
        with self._data.exclusive():
            raw_log.recover(self._data, self._endpoint.table)
            if self._rng.random() < 0.5:
                compact(self._data, self._endpoint.table, LONG_AFTER)
            if self._rng.random() < 0.3:
                for path, content in journals.items():
                    path.write_bytes(content)
                raw_log.recover(self._data, self._endpoint.table)

    def pending(self) -> set[str]:
        """The sessions without a final answer in raw."""
        return self._fates.keys() - {row["session_id"] for row in self.raw() if _is_final(row)}

    def raw(self) -> list[dict[str, Any]]:
        """Every row of the raw table."""
        files = [path for paths in self._data.store.parts(self._endpoint.table).values() for path in paths]
        return ds.dataset(files, format="parquet").to_table().to_pylist() if files else []

    def check(self) -> None:
        """What must hold over all runs, in what was kept."""
        raw = self.raw()
        numbers = Counter(json.loads(row["body"])["number"] for row in raw if row["body"] is not None)
        assert max(numbers.values(), default=1) == 1, "an answer is kept twice"
        lost = {asked.number for asked in self._must_be_kept} - numbers.keys()
        assert not lost, f"{len(lost)} answers are lost"
        outcomes: dict[str, set[str]] = {}
        for row in filter(_is_final, raw):
            outcomes.setdefault(row["session_id"], set()).add(row["outcome"])
        for session_id, found in outcomes.items():
            assert found == {"failed" if self._fates[session_id].is_failed else "fulfilled"}, session_id
        assert outcomes.keys() | self.pending() == self._fates.keys()

    def _sessions(self) -> PendingSessions:
        ids = sorted(self.pending())
        asked = {row["session_id"]: row["requested_at"].timestamp() for row in self.raw()}
        return PendingSessions(
            pa.array(ids, pa.string()),
            array("d", (BEGIN.timestamp() - self._ages[i] for i in ids)),
            array("d", (asked.get(i, NEVER) for i in ids)),
        )

    def _check_run(self, api: VirtualApi, limits: Limits, conduct: Conduct, ended: float) -> None:
        """What must hold within one run, as the API sees it."""
        if limits.rate_ceiling:
            allowed = max(1, int(limits.rate_ceiling))
            window = allowed / limits.rate_ceiling
            excess = zip(api.sent_at, api.sent_at[allowed:], strict=False)
            assert all(later - first >= window for first, later in excess), "the ceiling was exceeded"
        assert ended <= self._clock + limits.poll_budget + conduct.latency[1] + conduct.hold + 0.1
        by_session: dict[str, list[Asked]] = {}
        for asked in api.requests:
            by_session.setdefault(asked.session_id, []).append(asked)
        for requests in by_session.values():
            _check_waits(requests, limits.poll_interval, conduct.retry_after)

    def _tear(self, log: ResponseLog) -> None:
        """What a kill leaves of a journal: all that was synced, and perhaps the beginning of one batch more."""
        (journal,) = self._data.journal(self._endpoint.table).glob("*.journal")
        synced = journal.stat().st_size
        ResponseLog.write(log, log.take())
        with journal.open("rb+") as file:
            file.truncate(self._rng.randint(synced, max(synced, journal.stat().st_size - 1)))


def _check_waits(requests: list[Asked], interval: float, retry_after: float | None) -> None:
    """Of one session: a second after a call held for the interval and for a second, else intervals that grow.

    Where a refusal says how long to wait, it is that long, and longer each time up to the interval. A failure is asked
    for once more at once.
    """
    step = 0
    for earlier, later in itertools.pairwise(requests):
        if earlier.outcome is Outcome.FAILED:
            continue  # which is confirmed at once
        if earlier.outcome is Outcome.PENDING:
            assert earlier.answered_at is not None
            if earlier.answered_at - earlier.asked_at >= max(interval, PAUSE_AFTER_HOLD):
                pause = later.asked_at - earlier.answered_at
                assert pause >= PAUSE_AFTER_HOLD, "asked again too soon after a held call"
                continue
        step += 1
        least = interval * step
        if earlier.is_refused and retry_after is not None:
            least = max(retry_after, min(least, max(retry_after, 1.0) * step))
        assert later.asked_at - earlier.asked_at >= min(MAX_INTERVAL, least), "asked again too soon"


def _microseconds(loop_time: float) -> int:
    return round((BEGIN.timestamp() + loop_time) * MICROSECONDS)


def _is_final(row: Mapping[str, Any]) -> bool:
    return row["outcome"] in ("fulfilled", "failed")
