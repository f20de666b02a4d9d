"""Learns the completion-time distribution from the tables.

Polling uses it (`polling/completion_law.py`). The amount of data read is bounded for any history: only the latest days
of submission are read, and large numbers of purchases are sampled uniformly.
"""

from __future__ import annotations

from pipeline.polling.completion_law import BANDS_PER_OCTAVE, CompletionLaw
from pipeline.schema.staging import PURCHASES, SESSION_DAY_POLLS
from pipeline.storage.connection import connect
from pipeline.storage.data_directory import DataDirectory
from pipeline.storage.day_parts import day_of
from pipeline.storage.errors import DamagedFileError, MissingFileError
from pipeline.transform.queries import run

_DAYS = 8  # by default a session expires after seven
_SAMPLE = 200_000  # purchases


def learned_law(data: DataDirectory) -> CompletionLaw:
    """The distribution learned from purchases; an assumed one if there are none or their objects are damaged.

    Failed purchases count as complete, like fulfilled ones, because both end polling. Raises StoreError if the disk
    fails.
    """
    try:
        return CompletionLaw.learned(_intervals(data))
    except (DamagedFileError, MissingFileError):
        # The next build derives the tables again. Until then, polling uses the assumed distribution.
        return CompletionLaw.assumed()


def _intervals(data: DataDirectory) -> list[tuple[int, int | None, int]]:
    """The number of purchases by the age bands of their last pending and their first final answer.

    The second band is None for a purchase without a final answer.
    """
    store = data.store
    parts = store.parts(PURCHASES)
    days = sorted({*map(day_of, parts)})[-_DAYS:]
    if not days:
        return []
    purchases = store.scan(PURCHASES, (part for part in parts if day_of(part) >= days[0]))
    polls = store.scan(SESSION_DAY_POLLS, (part for part in store.parts(SESSION_DAY_POLLS) if part >= days[0]))
    with connect(data) as connection:
        (count,) = connection.execute(f"SELECT count(*) FROM {purchases}").fetchone() or (0,)
        is_sampled = f"hash(session_id) % {count // _SAMPLE + 1} = 0"
        return run(
            connection,
            f"""
            WITH chosen AS (
                SELECT session_id, started_at(initiated_at, submitted_at) AS started_at, resolved_at
                FROM {purchases}
                WHERE first_polled_at IS NOT NULL AND {is_sampled}
            ),
            polls AS (
                SELECT session_id, max(last_pending_at) AS last_pending_at
                FROM {polls}
                WHERE {is_sampled}
                GROUP BY session_id
            ),
            ages AS (
                SELECT
                    CASE WHEN last_pending_at > started_at THEN epoch(last_pending_at - started_at) ELSE 0 END
                        AS pending_age,
                    CASE WHEN resolved_at > started_at THEN epoch(resolved_at - started_at)
                        WHEN resolved_at IS NOT NULL THEN 0 END AS final_age
                FROM chosen JOIN polls USING (session_id)
            )
            SELECT
                floor({BANDS_PER_OCTAVE} * log2(1 + least(pending_age, final_age)))::INTEGER AS first_band,
                floor({BANDS_PER_OCTAVE} * log2(1 + final_age))::INTEGER AS last_band,
                count(*)
            FROM ages
            GROUP BY ALL
            """,
        ).fetchall()
