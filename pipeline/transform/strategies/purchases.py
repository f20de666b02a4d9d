"""Purchases: parts by time of submission. An answer changes the part of its session's submission."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import duckdb

from pipeline.schema import TABLES
from pipeline.schema.raw import SESSION_SUBMISSIONS, STATUS_RESPONSES
from pipeline.schema.staging import FULFILLED_RESULTS, PURCHASES, SESSION_DAY_POLLS
from pipeline.storage.connection import stream
from pipeline.storage.day_parts import day_of, is_cut_further, minutes_of, moment_of
from pipeline.storage.manifest import Statistics, inputs_of
from pipeline.transform.build_report import BuildReport
from pipeline.transform.comparison import changed_parts
from pipeline.transform.context import BuildContext
from pipeline.transform.queries import query

_SESSIONS_AT_ONCE = 500_000
# Of the touched sessions, few rows change in each run: most were touched because of others in their part.
_RESOLUTIONS_OF_CHANGED = """
    WITH made AS (
        SELECT session_id, resolved_at, hash(purchase) AS fingerprint FROM rebuilt AS purchase
        SEMI JOIN touched USING (session_id)
    ),
    kept AS (
        SELECT session_id, resolved_at, hash(purchase) AS fingerprint FROM {former} AS purchase
        SEMI JOIN touched USING (session_id)
    )
    SELECT DISTINCT utc_minute(resolved_at)
    FROM (
        FROM made ANTI JOIN kept USING (session_id, fingerprint)
        UNION ALL FROM kept ANTI JOIN made USING (session_id, fingerprint)
    )
    WHERE resolved_at IS NOT NULL
"""
_STATISTICS = """
    SELECT part, min(utc_minute(resolved_at)), max(utc_minute(resolved_at)), count(*) FILTER (status = 'pending')
    FROM rebuilt ASOF JOIN rebuilt_parts ON submitted_at >= since
    GROUP BY part
"""


def build(context: BuildContext, report: BuildReport) -> None:
    """Rebuilds the parts with new submissions, newly answered sessions or newly expired sessions."""
    context.name(TABLES[name] for name in PURCHASES.sources)
    inputs = inputs_by_part(context)
    observed = context.state(SESSION_DAY_POLLS)
    taken_in = context.manifest.state(PURCHASES).taken_in
    # A part that was removed from raw may have contained answers of any session, or its first submission.
    is_submission_gone = _is_any_gone(context.manifest.state(PURCHASES).parts, inputs)
    is_part_gone = is_submission_gone or _is_any_gone(taken_in, observed)
    for part in observed if is_submission_gone else ():
        context.manifest.put_out_of_date(PURCHASES, part)
    stale = [part for part, state in inputs.items() if is_part_gone or not context.is_current(PURCHASES, part, state)]
    answered = [part for part, version in observed.items() if taken_in.get(part) != version]
    context.verify(SESSION_SUBMISSIONS, stale)
    context.verify(SESSION_DAY_POLLS, answered)
    context.verify(FULFILLED_RESULTS, answered)
    context.connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE touched AS
        SELECT session_id, bool_or(is_submitted) AS is_submitted
        FROM (
            SELECT session_id, false AS is_submitted FROM {context.scan(SESSION_DAY_POLLS, answered)}
            UNION ALL SELECT session_id, true FROM {context.scan(SESSION_SUBMISSIONS, stale)}
        )
        GROUP BY session_id
        """
    )
    for parts in batches(context, {*stale, *_touched_parts(context)}):
        _rebuild(context, report, parts, inputs)
    context.connection.execute("DROP TABLE touched")  # after a rebuild it contains all sessions
    report.unchanged_count = len(inputs) - len(report.written)
    context.manifest.take_in(PURCHASES, observed)
    context.remove_other_parts(report, set(inputs))


def inputs_by_part(context: BuildContext) -> dict[str, str]:
    """The fingerprints of the inputs of purchases, by part."""
    derived = context.derivations.of(PURCHASES)
    raw = context.parts(SESSION_SUBMISSIONS)
    return {part: inputs_of(derived, context.expire_after, {part: state}) for part, state in raw.items()}


def parts_with_pending(context: BuildContext) -> list[str]:
    """The parts with pending purchases, from the manifest alone."""
    return [name for name, part in context.manifest.state(PURCHASES).parts.items() if part.pending_count]


def parts_resolved_in(context: BuildContext, part: str) -> list[str]:
    """The parts with purchases that may have been resolved within a part by observation, from the manifest alone.

    There are few such parts, so a part's tables do not read the purchases of the whole history.
    """
    since, until = map(moment_of, minutes_of(part))
    parts = context.manifest.state(PURCHASES).parts
    return [
        name for name, of in parts.items() if (of.resolved_from or "~") < until and (of.resolved_until or "") >= since
    ]


def batches(context: BuildContext, parts: Iterable[str]) -> Iterator[list[str]]:
    """The parts in groups whose sessions fit into memory: there may be a whole history of parts."""
    batch: list[str] = []
    size = 0
    for part in sorted(parts):
        submissions = context.scan(SESSION_SUBMISSIONS, [part])
        ((count,),) = context.connection.execute(f"SELECT count(*) FROM {submissions}").fetchall()
        if batch and size + count > _SESSIONS_AT_ONCE:
            yield batch
            batch, size = [], 0
        batch.append(part)
        size += count
    if batch:
        yield batch


def _is_any_gone(parts: Iterable[str], now: Mapping[str, str]) -> bool:
    """Whether a part is no longer there, and was not cut further."""
    return any(part not in now and not is_cut_further(part, now) for part in parts)


def _touched_parts(context: BuildContext) -> set[str]:
    """The parts with the first submission of sessions in `touched`, and those with newly expired sessions.

    A new submission may be the earliest one, from a clock that was behind or a backup. Then the part with the former
    first submission loses the purchase, so the parts with any submission of these sessions are included.
    """
    found = context.connection.execute(
        f"""
        SELECT DISTINCT utc_minute(submitted_at) FROM (
            SELECT unnest(if(any_value(is_submitted), list(submitted_at), [min(submitted_at)])) AS submitted_at
            FROM session_submissions JOIN touched USING (session_id)
            WHERE rejected_reason IS NULL
            GROUP BY session_id
            UNION ALL SELECT submitted_at FROM {context.scan(PURCHASES, parts_with_pending(context))}
            WHERE status = 'pending' AND is_expired(submitted_at, last_polled_at)
        )
        """
    )
    return context.parts_at(SESSION_SUBMISSIONS, [minute for (minute,) in found.fetchall()])


def _rebuild(context: BuildContext, report: BuildReport, parts: list[str], inputs: dict[str, str]) -> None:
    connection, manifest = context.connection, context.manifest
    context.choose(parts)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE rebuilt AS {query(PURCHASES)}")
    kept = context.scan(PURCHASES, parts)
    # If a session's row changes, the parts of both resolutions are out of date. They are recorded before the former row
    # is lost.
    former = context.scan(PURCHASES, _with_replaced(context, parts, inputs))
    resolved = connection.execute(_RESOLUTIONS_OF_CHANGED.format(former=former)).fetchall()
    for part in context.parts_at(STATUS_RESPONSES, [minute for (minute,) in resolved]):
        manifest.put_out_of_date(PURCHASES, part)
    known = context.store.parts(PURCHASES).keys() & manifest.state(PURCHASES).parts.keys()
    _list_parts(context, parts)
    changed = {*parts} - known | changed_parts(connection, "rebuilt", kept, parts)
    for part in changed:
        # After a kill before the next save, the manifest must not list new rows under the version of the former ones.
        manifest.forget(PURCHASES, part)
    manifest.save()
    found = dict(_statistics(connection))
    for part in parts:
        statistics = found.get(part, Statistics())
        if part in changed:
            rows = f"SELECT * FROM rebuilt WHERE {_is_within(part)} ORDER BY submitted_at, session_id"
            context.write(report, part, inputs[part], stream(connection, rows), statistics)
        else:
            manifest.confirmed(PURCHASES, part, inputs[part], statistics)
    connection.execute("DROP TABLE rebuilt")


def _statistics(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[str, Statistics]]:
    for part, first, last, pending in connection.execute(_STATISTICS).fetchall():
        first_moment, last_moment = (moment_of(first), moment_of(last)) if first else (None, None)
        yield part, Statistics(first_moment, last_moment, pending)


def _with_replaced(context: BuildContext, parts: list[str], inputs: dict[str, str]) -> list[str]:
    """The given parts, and the ones of the same days that were cut further since they were written."""
    days = {*map(day_of, parts)}
    replaced = [part for part in context.store.parts(PURCHASES) if part not in inputs and day_of(part) in days]
    return [*parts, *replaced]


def _list_parts(context: BuildContext, parts: list[str]) -> None:
    """Creates the table `rebuilt_parts`, by which rows find their part."""
    starts = {"parts": parts, "minutes": [minutes_of(part)[0] for part in parts]}
    context.connection.execute(
        "CREATE OR REPLACE TEMP TABLE rebuilt_parts AS SELECT part, start_of_minute(minute) AS since "
        "FROM (SELECT unnest($parts::VARCHAR[]) AS part, unnest($minutes::BIGINT[]) AS minute)",
        starts,
    )


def _is_within(part: str) -> str:
    since, until = minutes_of(part)
    return f"submitted_at >= start_of_minute({since}) AND submitted_at < start_of_minute({until})"
