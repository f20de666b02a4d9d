"""Reads the run history without Dagster, whose import takes longer than everything else that `status` does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from pipeline.orchestration.history_storage import HistoryStorage, opened_history

Result = Literal["succeeded", "failed", "canceled", "queued", "running", "unfinished"]
State = Literal["running", "stopped", "unknown"]

DATA_DIRECTORY = "data_directory"  # the tag of a run that took the lock
ENVIRONMENT = "environment"  # the tags that say where a run wrote
HOST = "host"
LAKE_URL = "lake_url"  # the tags of a run whose lake is in an object store
LEASE_HOLDER = "lease_holder"
WHAT_TO_DO = "What to do: "  # begins the event with cause and remedy of a failed run

_ALIVE_FOR = timedelta(minutes=5)  # Dagster's daemon reports twice a minute unless the machine is busy
_RESULTS: dict[str, Result] = {"SUCCESS": "succeeded", "FAILURE": "failed", "CANCELED": "canceled"}
_WAITING = ("QUEUED", "NOT_STARTED")
_IN_THE_UI = "the run failed; its page in the Dagster UI shows the error"
_RUNS = """
    SELECT id, run_id, status, create_timestamp, start_time, end_time, tag.value IS NOT NULL AS took_the_lock
    FROM runs LEFT JOIN (SELECT run_id AS tagged, value FROM run_tags WHERE key = $tag) AS tag
        ON tagged = run_id
    WHERE pipeline_name = 'refresh' AND coalesce(tag.value, $place) = $place
"""
_LATEST_ENDED = "coalesce(end_time, 0) DESC, id DESC"
_EVENTS = """
    SELECT dagster_event_type, event FROM event_logs
    WHERE run_id = $run_id AND dagster_event_type IN ('ENGINE_EVENT', 'PIPELINE_FAILURE') ORDER BY id
"""


@dataclass(frozen=True)
class Run:
    """One run of the job `refresh`.

    `result` is `succeeded`, `failed`, `canceled`, `queued`, `running`, or `unfinished`: started, but nobody holds the
    lock. `started_at` is the time of creation until the run starts. `seconds` is None until the run ends,
    `what_to_do` unless it failed.
    """

    run_id: str
    result: Result
    started_at: datetime
    ended_at: datetime | None
    seconds: float | None
    what_to_do: str | None


@dataclass(frozen=True)
class Trigger:
    """Schedules or sensors. `state` is `running`, `stopped` or `unknown`; `turned_off` names those stopped in the UI.

    `last_seen_at` is the daemon's last report.
    """

    state: State = "unknown"
    last_seen_at: datetime | None = None
    turned_off: tuple[str, ...] = ()


@dataclass(frozen=True)
class History:
    """The run under way or, without one, the latest that ended; the latest that ended; and the triggers.

    `last_success_at` is the end of the latest success.
    """

    last_run: Run | None
    last_ended: Run | None
    last_success_at: datetime | None
    schedules: Trigger
    sensors: Trigger


def read_history(environment: str, root: Path, lake_url: str | None, is_being_written: bool, now: datetime) -> History:
    """The history of the runs on a lake, or on the data directory `root`. Raises HistoryUnknownError."""
    place = (LAKE_URL, lake_url) if lake_url else (DATA_DIRECTORY, str(root))
    with opened_history(environment) as storage:
        last_ended = _first(storage, place, is_being_written, f"status IN {tuple(_RESULTS)}")
        last_run = _first(storage, place, is_being_written, "TRUE", "id DESC")
        if last_run and last_run.ended_at:  # maybe refused, because an earlier one was under way
            writing = "end_time IS NULL AND took_the_lock"
            last_run = (_first(storage, place, True, writing) if is_being_written else None) or last_ended
        success = _first(storage, place, is_being_written, "status = 'SUCCESS' AND took_the_lock")
        seen = {kind: _utc(at) for kind, at in storage.runs("SELECT daemon_type, timestamp FROM daemon_heartbeats")}
        off = _turned_off(storage)
    schedules = _trigger(seen.get("SCHEDULER"), off["SCHEDULE"], now)
    sensors = _trigger(seen.get("SENSOR"), off["SENSOR"], now)
    return History(last_run, last_ended, success.ended_at if success else None, schedules, sensors)


def _first(
    storage: HistoryStorage, place: tuple[str, str], is_being_written: bool, condition: str, order: str = _LATEST_ENDED
) -> Run | None:
    query = f"SELECT * FROM ({_RUNS}) AS found WHERE {condition} ORDER BY {order} LIMIT 1"
    rows = storage.runs(query, {"tag": place[0], "place": place[1]})
    if not rows:
        return None
    _, run_id, status, created, start, end, _ = rows[0]
    started_at = _utc(created) if start is None else datetime.fromtimestamp(start, UTC)
    ended_at = None if end is None else datetime.fromtimestamp(end, UTC)
    unended: Result = "queued" if status in _WAITING else "running" if is_being_written else "unfinished"
    return Run(
        run_id=run_id,
        result=_RESULTS.get(status, unended),
        started_at=started_at,
        ended_at=ended_at,
        seconds=None if ended_at is None else round((ended_at - started_at).total_seconds(), 3),
        what_to_do=_what_to_do(storage, run_id) if status == "FAILURE" else None,
    )


def _what_to_do(storage: HistoryStorage, run_id: str) -> str:
    """Cause and remedy of a failed run, from its events."""
    found = {}
    for kind, event in storage.events(run_id, _EVENTS):
        message = str(json.loads(event)["dagster_event"]["message"] or "")
        if kind == "PIPELINE_FAILURE" or message.startswith(WHAT_TO_DO):
            found[kind] = message.removeprefix(WHAT_TO_DO)
    return found.get("ENGINE_EVENT") or found.get("PIPELINE_FAILURE") or _IN_THE_UI


def _turned_off(storage: HistoryStorage) -> dict[str, tuple[str, ...]]:
    """The names of the schedules and of the sensors that somebody stopped."""
    found: dict[str, list[str]] = {"SCHEDULE": [], "SENSOR": []}
    stopped = "SELECT instigator_type, instigator_body FROM instigators WHERE status = 'STOPPED'"
    for kind, body in storage.schedules(stopped):
        found.setdefault(kind, []).append(json.loads(body)["origin"]["job_name"])
    return {kind: tuple(sorted(names)) for kind, names in found.items()}


def _trigger(seen: datetime | None, turned_off: tuple[str, ...], now: datetime) -> Trigger:
    is_running = seen is not None and now - seen <= _ALIVE_FOR
    return Trigger("running" if is_running else "stopped", seen, turned_off)


def _utc(moment: str | datetime) -> datetime:
    """A time as Dagster stores it, in UTC without a zone."""
    return datetime.fromisoformat(str(moment)).replace(tzinfo=UTC)
