"""Purchases: parts by day of submission. An answer changes the part of its session's day of submission."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.schema import TABLES
from pipeline.schema.raw import SESSION_SUBMISSIONS
from pipeline.schema.staging import FULFILLED_RESULTS, PURCHASES, SESSION_DAY_POLLS
from pipeline.storage.connection import stream
from pipeline.storage.manifest import digest
from pipeline.transform.build_report import BuildReport
from pipeline.transform.comparison import changed_days
from pipeline.transform.context import BuildContext
from pipeline.transform.queries import query

_SESSIONS_AT_ONCE = 500_000
_RESOLUTION_DAYS_OF_TOUCHED = """
    SELECT DISTINCT resolved_date::VARCHAR
    FROM (SELECT session_id, resolved_date FROM rebuilt UNION ALL SELECT session_id, resolved_date FROM {former})
    SEMI JOIN touched USING (session_id)
    WHERE resolved_date IS NOT NULL
"""
_STATISTICS = """
    SELECT
        utc_day(submitted_at)::VARCHAR,
        min(resolved_date)::VARCHAR,
        max(resolved_date)::VARCHAR,
        count(*) FILTER (status = 'pending')
    FROM rebuilt
    GROUP BY 1
"""


def build(context: BuildContext, report: BuildReport) -> None:
    """Rebuilds the days of submission with new submissions, newly answered sessions or newly expired sessions."""
    context.name(TABLES[name] for name in PURCHASES.sources)
    inputs = inputs_by_day(context)
    observed = context.state(SESSION_DAY_POLLS)
    taken_in = context.manifest.state(PURCHASES).taken_in
    # A day that was removed from raw may have contained answers of any session.
    is_day_gone = not taken_in.keys() <= observed.keys()
    stale = [day for day, state in inputs.items() if is_day_gone or not context.is_current(PURCHASES, day, state)]
    answered = [day for day, version in observed.items() if taken_in.get(day) != version]
    context.inspection.verify(SESSION_SUBMISSIONS, stale)
    context.inspection.verify(SESSION_DAY_POLLS, answered)
    context.inspection.verify(FULFILLED_RESULTS, answered)
    context.connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE touched AS
        SELECT session_id FROM {context.store.scan(SESSION_DAY_POLLS, answered)}
        UNION SELECT session_id FROM {context.store.scan(SESSION_SUBMISSIONS, stale)}
        """
    )
    for days in batches(context, {*stale, *_touched_days(context)}):
        _rebuild(context, report, days, inputs)
    context.connection.execute("DROP TABLE touched")  # after a rebuild it contains all sessions
    report.unchanged_count = len(inputs) - len(report.written)
    context.manifest.take_in(PURCHASES, observed)
    context.remove_other_days(report, set(inputs))


def inputs_by_day(context: BuildContext) -> dict[str, str]:
    """The fingerprints of the inputs of purchases, by day of submission."""
    derived = context.derivations.of(PURCHASES)
    raw = context.raw_state(SESSION_SUBMISSIONS)
    return {day: digest(derived, context.expire_after, {day: state}) for day, state in raw.items()}


def days_with_pending(context: BuildContext) -> list[str]:
    """The days of submission with pending purchases, from the manifest alone."""
    return [day for day, part in context.manifest.state(PURCHASES).parts.items() if part.pending_count]


def days_resolved_on(context: BuildContext, day: str) -> list[str]:
    """The days of submission with purchases that may have been resolved on a day, from the manifest alone.

    There are few such days, so a day's tables do not read the purchases of the whole history.
    """
    parts = context.manifest.state(PURCHASES).parts
    return [name for name, part in parts.items() if (part.resolved_from or "~") <= day <= (part.resolved_until or "")]


def batches(context: BuildContext, days: Iterable[str]) -> Iterator[list[str]]:
    """The days of submission in groups whose sessions fit into memory: there may be a whole history of days."""
    batch: list[str] = []
    size = 0
    for day in sorted(days):
        submissions = context.store.scan(SESSION_SUBMISSIONS, [day])
        ((count,),) = context.connection.execute(f"SELECT count(*) FROM {submissions}").fetchall()
        if batch and size + count > _SESSIONS_AT_ONCE:
            yield batch
            batch, size = [], 0
        batch.append(day)
        size += count
    if batch:
        yield batch


def _touched_days(context: BuildContext) -> list[str]:
    """The days of the first submission of sessions in `touched`, and the days with newly expired sessions."""
    found = context.connection.execute(
        f"""
        SELECT utc_day(min(submitted_at))::VARCHAR FROM session_submissions
        WHERE rejected_reason IS NULL AND session_id IN (SELECT session_id FROM touched)
        GROUP BY session_id
        UNION SELECT utc_day(submitted_at)::VARCHAR FROM {context.store.scan(PURCHASES, days_with_pending(context))}
        WHERE status = 'pending' AND is_expired(submitted_at, last_polled_at)
        """
    )
    return [day for (day,) in found.fetchall()]


def _rebuild(context: BuildContext, report: BuildReport, days: list[str], inputs: dict[str, str]) -> None:
    connection, manifest = context.connection, context.manifest
    context.name_days(days)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE rebuilt AS {query(PURCHASES)}")
    # If a session's day of resolution changes, both days are out of date. They are recorded before the former is lost.
    kept = context.store.scan(PURCHASES, days)
    for (day,) in connection.execute(_RESOLUTION_DAYS_OF_TOUCHED.format(former=kept)).fetchall():
        manifest.put_out_of_date(PURCHASES, day)
    known = context.store.parts(PURCHASES).keys() & manifest.state(PURCHASES).parts.keys()
    changed = {*days} - known | changed_days(connection, "rebuilt", kept, days)
    for day in changed:
        # After a kill before the next save, the manifest must not list new rows under the version of the former ones.
        manifest.forget(PURCHASES, day)
    manifest.save()
    statistics = {day: rest for day, *rest in connection.execute(_STATISTICS).fetchall()}
    for day in days:
        if day in changed:
            rows = f"SELECT * FROM rebuilt WHERE utc_day(submitted_at) = '{day}' ORDER BY submitted_at, session_id"
            first, last, pending = statistics.get(day, (None, None, 0))
            context.write(report, day, inputs[day], stream(connection, rows), (first, last), pending)
        else:
            manifest.confirmed(PURCHASES, day, inputs[day])
    connection.execute("DROP TABLE rebuilt")
