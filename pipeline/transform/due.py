"""Decides when pending sessions are due for another run without a new file.

A run polls until its budget ends. Sessions still pending then wait for the next run. The wait grows with a session's
age, like the poll interval within a run (`polling/schedule.py`): a session that has been pending for days rarely
becomes final in the next minutes.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.schema.raw import PENDING_SESSIONS
from pipeline.schema.staging import PURCHASES
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.manifest import Manifest, digest
from pipeline.transform.queries import run

_SHORTEST_WAIT = 900  # seconds between the end of one run and the start of the next
_SHARE_OF_AGE = 1 / 8  # up to an age of two hours, a session waits 15 minutes; at one week, 21 hours


@dataclass(frozen=True)
class Due:
    """The number of pending sessions, and the time at which the first is due, in seconds since the epoch."""

    pending: int
    at: float


def due_state(data: DataDirectory) -> str:
    """A fingerprint of the tables that `due` reads, from the manifest alone. While it is unchanged, so is `due`."""
    manifest = Manifest.as_saved(data.storage)
    return digest(manifest.versions(PURCHASES), manifest.versions(PENDING_SESSIONS))


def due(data: DataDirectory) -> Due | None:
    """The pending sessions and their due time; None if no session is pending. Raises StoreError.

    Includes sessions that a failed run took in but did not add to the purchases.
    """
    store = data.store
    with connect(data) as connection:
        row = run(
            connection,
            f"""
            WITH pending AS (
                SELECT submitted_at, initiated_at, last_polled_at FROM {store.scan(PURCHASES)} WHERE status = 'pending'
                UNION ALL
                SELECT submitted_at, initiated_at, last_polled_at FROM {store.scan(PENDING_SESSIONS)}
                WHERE session_id NOT IN (SELECT session_id FROM {store.scan(PURCHASES)})
            ),
            seconds AS (
                SELECT epoch(submitted_at) AS submitted, epoch(started_at(initiated_at, submitted_at)) AS started,
                    epoch(last_polled_at) AS asked
                FROM pending
            )
            SELECT count(*), min(coalesce(
                asked + greatest({_SHORTEST_WAIT}, {_SHARE_OF_AGE} * (asked - started)),
                submitted + {_SHORTEST_WAIT}))
            FROM seconds
            """,
        ).fetchone()
    return Due(*row) if row and row[0] else None
