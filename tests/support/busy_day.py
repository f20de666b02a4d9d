"""A day of raw data with runs at all hours: answers that are late, repeated, contradicting, lost or unreadable, and
traits that are numbers and nulls."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from pipeline.schema.raw import SESSION_SUBMISSIONS, STATUS_RESPONSES
from pipeline.schema.table import Table
from pipeline.simulator import catalogue
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.missing_columns import with_missing_columns
from pipeline.storage.raw_log import Response, ResponseLog

DAY = datetime(2026, 3, 1, tzinfo=UTC)
AFTERWARDS = DAY + timedelta(hours=30)


class BusyDay:
    """The sessions of one day, which is the same for the same seed.

    A plain day has fulfilled answers alone, as the API sends them. The first two sessions of each of its runs pull the
    same items, one after the other.
    """

    def __init__(self, data: DataDirectory, seed: int = 1, is_plain: bool = False) -> None:
        self._data = data
        self._is_plain = is_plain
        self._rng = random.Random(seed)  # noqa: S311
        self._later: list[tuple[str, str]] = []
        self._run = 0

    def add_runs(self, first_hour: float, last_hour: float, runs: int, sessions: int = 60) -> None:
        """Adds so many runs, spread over these hours, each with so many new sessions."""
        for number in range(runs):
            self.add_run(DAY + timedelta(hours=first_hour + (last_hour - first_hour) * number / runs), sessions)

    def add_run(self, moment: datetime, sessions: int) -> None:
        """Adds one file of sessions, and the answers of the run that takes it in."""
        self._run += 1
        ids = [f"r{self._run}-{number}" for number in range(sessions)]
        self._submit(moment, [*ids, *(f"r{max(1, self._run - 3)}-{number}" for number in range(2))])
        waiting, self._later = self._later, []
        asked = [(session_id, self._fate()) for session_id in ids] + waiting
        responses = [response for session_id, fate in asked for response in self._responses(session_id, fate, moment)]
        with self._data.exclusive():
            log = ResponseLog(self._data, STATUS_RESPONSES, moment)
            for response in sorted(responses, key=lambda response: response.received_at):
                log.append(response)
            log.close()

    def _fate(self) -> str:
        if self._is_plain:
            return "fulfilled"
        fates = {"fulfilled": 70, "waits": 10, "failed": 5, "twice": 4, "again": 3, "lost": 3, "malformed": 3, "odd": 2}
        return self._rng.choices([*fates], [*fates.values()])[0]

    def _responses(self, session_id: str, fate: str, moment: datetime) -> Iterator[Response]:
        at = int((moment + timedelta(seconds=self._rng.uniform(1, 300))).timestamp() * 1_000_000)
        later = at + self._rng.randrange(1, 300) * 1_000_000
        if self._is_plain:
            if not session_id.endswith(("-0", "-1")):
                yield _response(session_id, at - 500_000, b'{"status":"pending"}', "pending")
            yield _response(session_id, at, self._plain_body(session_id), "fulfilled")
            return
        fulfilled = self._body(session_id)
        if fate in ("fulfilled", "twice", "again"):
            if self._rng.random() < 0.3:
                yield _response(session_id, at - 500_000, b'{"status":"pending"}', "pending")
            yield _response(session_id, at, fulfilled, "fulfilled")
        if fate == "twice":  # in a later run with other content, or a second time in this one
            self._later.append((session_id, "fulfilled"))
            yield _response(session_id, later, self._body(session_id), "fulfilled")
        if fate == "again":
            self._later.append((session_id, "pending"))
            yield _response(session_id, later, b'{"status":"pending"}', "pending")
        if fate in ("waits", "pending"):
            yield _response(session_id, at, b'{"status":"pending"}', "pending")
        if fate == "waits":
            self._later.append((session_id, self._rng.choice(["fulfilled", "waits", "failed"])))
        if fate == "failed":
            yield _response(session_id, at, b'{"error":"no"}', "unconfirmed")
            yield _response(session_id, later, b'{"error":"no"}', "failed")
        if fate == "lost":
            for number in range(3):
                yield Response(session_id, at + number, at + number + 1, None, None, None, "transient", "timed out")
        if fate == "malformed":
            self._later.append((session_id, "fulfilled"))
            yield _response(session_id, at, b"\xff<html>", "malformed", "not JSON")
        if fate == "odd":  # asked before midnight of its part, answered after it
            yield Response(session_id, at - 7_200_000_000, at, 200, None, fulfilled, "fulfilled", None)

    def _body(self, session_id: str) -> bytes:
        result: dict[str, Any] = dict(catalogue.session(self._rng.randrange(50), session_id, is_sandbox=False).result)
        items = json.loads(json.dumps(result["nfts"]))
        for item in items:
            item["id"] = f"item-{self._rng.randrange(300)}"
            traits = item["content"]["metadata"]["attributes"]
            traits += [{"trait_type": "Weight", "value": self._rng.choice([1.5, 7, None, True, "1,250"])}]
            if self._rng.random() < 0.1:
                item["content"].pop("links", None)
            if self._rng.random() < 0.05:
                item["buyback_price"] = self._rng.choice([True, "$5", None, -1])
            if self._rng.random() < 0.05:
                item[f"extra_{self._rng.randrange(3)}"] = 1
        return json.dumps({"result": {**result, "nfts": items}}).encode()

    def _plain_body(self, session_id: str) -> bytes:
        first_of_run = re.sub("-1$", "-0", session_id)
        result, items = (catalogue.session(1, name, is_sandbox=False).result for name in (session_id, first_of_run))
        return json.dumps({"result": {**result, "nfts": items["nfts"]}}).encode()

    def _submit(self, moment: datetime, ids: list[str]) -> None:
        rows = [
            {
                "content_sha256": f"{self._run:064}",
                "row_number": number,
                "source_file": f"run-{self._run}.csv",
                "submitted_at": moment,
                "session_id": session_id,
                "initiated_at": moment - timedelta(seconds=20 + number),
                "pack_id": f"pack-{number % 3}",
                "price_usd": 25 * (number % 4),
                "quantity": None if self._is_plain else 1,
                "user_id": f"u{number % 7}" if number % 5 else None,
                "rejected_reason": None,
                "raw_value": None,
            }
            for number, session_id in enumerate(ids, 1)
        ]
        self._write(SESSION_SUBMISSIONS, f"{moment:%Y-%m-%d}", f"{self._run:064}-as-csv", rows)

    def _write(self, table: Table, day: str, name: str, rows: list[dict[str, Any]]) -> None:
        names = rows[0].keys()
        schema = pa.schema(field for field in table.arrow_schema if field.name in names)
        with self._data.store.writer(table, day, name) as writer:
            writer.write(with_missing_columns(table, pa.RecordBatch.from_pylist(rows, schema)))


def _response(session_id: str, at: int, body: bytes, outcome: str, detail: str | None = None) -> Response:
    return Response(session_id, at - 400_000, at, 200, "application/json", body, outcome, detail)
