"""A month of submissions for the demonstration, as if the pipeline had not polled during that time."""

from __future__ import annotations

import csv
import io
import random
from datetime import UTC, datetime, timedelta

from pipeline.simulator import catalogue
from pipeline.simulator.server import DEFAULT_SEED
from pipeline.sources.columns import COLUMNS
from pipeline.sources.inbox import Inbox
from pipeline.sources.intake import take_in
from pipeline.sources.kinds import SESSIONS
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.files import replace_file

DAYS = 30
_STUCK_BEFORE = timedelta(days=8)  # only sessions old enough to expire stay pending
_STUCK_SHARE = 0.01
_LATEST_SHARE = 0.04  # of the sessions: initiated just now, so that some are still pending


def write_history(data: DataDirectory, session_count: int, now: datetime) -> None:
    """Writes one CSV for each of the last 30 days into the inbox and reads all but today's.

    Past files get a `submitted_at` of their own day. Needs the directory's lock.
    """
    rng = random.Random(DEFAULT_SEED)
    latest = round(session_count * _LATEST_SHARE)
    moments = [now - timedelta(days=DAYS) * rng.random() for _ in range(session_count - latest)]
    moments += [now - timedelta(seconds=20) * rng.random() for _ in range(latest)]
    by_day: dict[str, list[datetime]] = {}
    for moment in sorted(moments):
        by_day.setdefault(f"{moment:%Y-%m-%d}", []).append(moment)
    for day, initiated in by_day.items():
        file = data.inbox / f"purchases-{day}.csv"
        replace_file(file, _csv(rng, initiated, now))
        data.push(file)
        if day < f"{now:%Y-%m-%d}":
            end_of_day = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(days=1, microseconds=-1)
            take_in(data, lambda end=end_of_day: end, Inbox(data, SESSIONS))  # type: ignore[misc]


def _csv(rng: random.Random, initiated: list[datetime], now: datetime) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for moment in initiated:
        is_stuck = now - moment > _STUCK_BEFORE and rng.random() < _STUCK_SHARE
        session_id = catalogue.session_id_at(rng, int(moment.timestamp() * 1000), is_stuck)
        fate = catalogue.session(DEFAULT_SEED, session_id, is_sandbox=False)
        # Some submissions lack details.
        is_priced = rng.random() < 0.97
        rows.writerow(
            [
                session_id,
                moment.isoformat(timespec="milliseconds"),
                fate.pack.id if is_priced else None,
                f"{fate.price:.2f}" if is_priced else None,
                fate.quantity,
                fate.result["user_id"],
            ]
        )
    return text.getvalue()
