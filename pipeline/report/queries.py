"""The report's queries on the published file: one per subject, each with a small result."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

import duckdb

from pipeline.publish.warehouse import open_warehouse
from pipeline.report import ReportError
from pipeline.storage.error_translation import exceeds_memory
from pipeline.storage.layout import Layout
from pipeline.storage.objects import first_line
from pipeline.storage.window import Window

Row = dict[str, Any]

DAYS_SHOWN = 30
PACKS_SHOWN = 15
LONG_PENDING = 86_400  # seconds after which a pending session needs a person
_ROWS_SHOWN = 10
_ISSUES_SHOWN = 25
_TIERS_SHOWN = 40

BINS_PER_DECADE = 6
_DAY = dt.timedelta(days=1)

# A purchase counts on the day of its initiation, else of its submission, like its pulls. The period without an end has
# every pending purchase, of which some may have been submitted before the window of the file.
_PURCHASES = """
    SELECT count(*) AS purchases,
        count(*) FILTER (status = 'fulfilled') AS fulfilled,
        count(*) FILTER (status = 'failed') AS failed,
        count(*) FILTER (status = 'pending') AS pending,
        count(*) FILTER (status = 'expired') AS expired,
        count(*) FILTER (status = 'fulfilled' AND last_pending_at IS NULL) AS fulfilled_when_first_asked,
        min(coalesce(initiated_at, submitted_at)) AS first_at,
        max(last_polled_at) AS newest_answer_at,
        least(now(), max(greatest(submitted_at, coalesce(last_polled_at, submitted_at)))) AS known_until
    FROM (
        SELECT *, coalesce(initiated_at, submitted_at) >= $first::TIMESTAMPTZ
            AND coalesce(initiated_at, submitted_at) < $end::TIMESTAMPTZ AS is_within
        FROM purchases
    )
    WHERE is_within OR (status = 'pending' AND $end::TIMESTAMPTZ = 'infinity')
"""

_PULLS = """
    WITH period AS (
        SELECT buyback_price_usd FROM pulls WHERE pulled_at >= $first::TIMESTAMPTZ AND pulled_at < $end::TIMESTAMPTZ
    ),
    middle AS (SELECT median(buyback_price_usd::DECIMAL(18,6))::DECIMAL(18,4) AS median_usd FROM period)
    SELECT count(*) AS pulls, count(buyback_price_usd) AS priced_pulls,
        count(*) FILTER (buyback_price_usd = 0) AS zero_pulls,
        sum(buyback_price_usd) AS buyback_usd,
        (SELECT median_usd FROM middle) AS median_usd,
        count(*) FILTER (buyback_price_usd < (SELECT median_usd FROM middle)) AS below_median,
        count(*) FILTER (buyback_price_usd = (SELECT median_usd FROM middle)) AS at_median,
        max(buyback_price_usd) AS top_quote_usd
    FROM period
"""

# Spend, its quoted buyback and their ratio have the same base: pulls with a quote and a price.
_SPEND = """
    SELECT coalesce(sum(pull_count), 0)::BIGINT AS all_pulls,
        coalesce(sum(priced_pull_count), 0)::BIGINT AS quoted_pulls,
        coalesce(sum(paid_pull_count), 0)::BIGINT AS paid_pulls,
        sum(spend_usd) AS spend_usd,
        sum(spend_buyback_usd) AS spend_buyback_usd
    FROM buyback_values WHERE pulled_date >= $first::TIMESTAMPTZ::DATE AND pulled_date < $end::TIMESTAMPTZ::DATE
"""

_BINS = f"""
    SELECT floor({BINS_PER_DECADE} * log10(buyback_price_usd::DOUBLE))::INTEGER AS bin, count(*) AS pulls,
        sum(buyback_price_usd)::DOUBLE AS total_usd, min(buyback_price_usd) AS least_usd
    FROM pulls WHERE buyback_price_usd > 0 AND pulled_at >= $first::TIMESTAMPTZ
    GROUP BY bin ORDER BY bin
"""

_TYPES = "FROM item_types ORDER BY pull_count DESC, item_type"

# Each of the 14 completed days before the moment. An expired session counts as pending until its last poll.
_TREND = """
    WITH days AS (SELECT ($today - 15 + i::INTEGER)::DATE AS day FROM range(1, 15) AS r(i)),
    bought AS (
        SELECT coalesce(initiated_at, submitted_at)::DATE AS day, count(*) AS purchases FROM purchases
        WHERE coalesce(initiated_at, submitted_at) >= ($today - 14)::TIMESTAMPTZ GROUP BY day
    ),
    quoted AS (
        SELECT pulled_at::DATE AS day, median(buyback_price_usd::DECIMAL(18,6))::DOUBLE AS median_usd
        FROM pulls WHERE pulled_at >= ($today - 14)::TIMESTAMPTZ GROUP BY day
    ),
    returned AS (
        SELECT pulled_date AS day, (sum(spend_buyback_usd) / nullif(sum(spend_usd), 0))::DOUBLE AS return_ratio
        FROM buyback_values GROUP BY day
    ),
    -- Most purchases of a long history ended before these days, so they are left out before the join.
    recent AS (
        SELECT submitted_at, coalesce(
            resolved_at, CASE WHEN status = 'expired' THEN coalesce(last_polled_at, submitted_at) END, 'infinity'
        ) AS ended_at
        FROM purchases WHERE ended_at >= ($today - 13)::TIMESTAMPTZ
    ),
    waiting AS (
        SELECT day, count(*) AS pending
        FROM days JOIN recent ON submitted_at < (day + 1)::TIMESTAMPTZ AND ended_at >= (day + 1)::TIMESTAMPTZ
        GROUP BY day
    )
    SELECT day, coalesce(purchases, 0) AS purchases, return_ratio, median_usd, coalesce(pending, 0) AS pending
    FROM days LEFT JOIN bought USING (day) LEFT JOIN quoted USING (day) LEFT JOIN returned USING (day)
        LEFT JOIN waiting USING (day)
    ORDER BY day
"""

# The return is a ratio of sums over sessions, and its standard error is that of a ratio estimator.
_WEEK = """
    WITH sessions AS (
        SELECT session_id, sum(buyback_price_usd)::DOUBLE AS quoted, sum(price_per_pull_usd)::DOUBLE AS spent
        FROM pulls
        WHERE pulled_at >= $first AND pulled_at < $end AND buyback_price_usd IS NOT NULL AND session_price_usd > 0
        GROUP BY session_id
    ),
    ratio AS (
        SELECT sum(quoted ORDER BY session_id) / nullif(sum(spent ORDER BY session_id), 0) AS return_ratio
        FROM sessions
    )
    SELECT count(*) AS session_count, any_value(return_ratio) AS return_ratio,
        sqrt(sum((quoted - return_ratio * spent) ^ 2 ORDER BY session_id) * count(*) / nullif(count(*) - 1, 0))
            / nullif(sum(spent ORDER BY session_id), 0) AS return_error,
        (SELECT median(buyback_price_usd::DECIMAL(18,6))::DECIMAL(18,4) FROM pulls
            WHERE pulled_at >= $first AND pulled_at < $end) AS median_usd,
        (SELECT count(*) FROM purchases WHERE coalesce(initiated_at, submitted_at) >= $first
            AND coalesce(initiated_at, submitted_at) < $end) AS purchases
    FROM sessions CROSS JOIN ratio
"""

# Future dates are errors and must not displace the current days.
_DAYS = f"""
    SELECT pulled_date, item_type, sum(pull_count)::BIGINT AS pulls,
        sum(priced_pull_count)::BIGINT AS priced_pulls, sum(buyback_total_usd)::DOUBLE AS total_usd,
        max(buyback_max_usd) AS top_quote_usd
    FROM buyback_values
    WHERE pulled_date <= $today
        AND pulled_date > (SELECT max(pulled_date) FROM buyback_values WHERE pulled_date <= $today) - {DAYS_SHOWN}
    GROUP BY pulled_date, item_type ORDER BY pulled_date, item_type
"""

_PACKS = f"""
    SELECT *, count(*) OVER () AS pack_count
    FROM pack_economics ORDER BY spend_usd DESC NULLS LAST, pack_id LIMIT {PACKS_SHOWN}
"""

_SIGNALS = """
    SELECT signal, sentence, z, is_unusual, is_telling FROM daily_signals WHERE signal_date = $yesterday
    ORDER BY list_position(['purchases', 'failed_rate', 'win_rate', 'quoted_value'], signal)
"""

# Each pack is shown with the latest version of its odds.
_ODDS = f"""
    SELECT pack_id, tier, pull_count, hit_count, hit_rate, hit_rate_low, hit_rate_high, published_share, verdict,
        count(*) OVER () AS tier_count
    FROM tier_hit_rates
    WHERE tier IS NOT NULL
    QUALIFY dense_rank() OVER (PARTITION BY pack_id ORDER BY valid_from DESC NULLS LAST) = 1
    ORDER BY p_any_time_holm NULLS LAST, pack_id, fmv_low_usd LIMIT {_TIERS_SHOWN}
"""

_FUNNEL = f"""
    FROM resolution_funnel
    WHERE submitted_date <= $today AND submitted_date >
        (SELECT max(submitted_date) FROM resolution_funnel WHERE submitted_date <= $today) - {DAYS_SHOWN}
    ORDER BY submitted_date
"""

_PENDING_AGEING = """
    SELECT age_band, session_count AS sessions, price_usd, session_count - priced_session_count AS unpriced
    FROM pending_ageing ORDER BY age_from_seconds
"""
_PENDING_LONGEST = f"""
    SELECT session_id, pack_id, price_usd, submitted_at, last_polled_at, poll_count,
        epoch($moment - submitted_at) AS age_seconds,
        count(*) FILTER (age_seconds > {LONG_PENDING}) OVER () AS long_pending_count
    FROM purchases WHERE status = 'pending' ORDER BY submitted_at, session_id LIMIT {_ROWS_SHOWN}
"""

_TOP_PULLS = f"""
    SELECT name, item_id, item_type, pack_id, buyback_price_usd, pulled_at
    FROM pulls WHERE buyback_price_usd IS NOT NULL AND pulled_at >= $first::TIMESTAMPTZ
    ORDER BY buyback_price_usd DESC, pulled_at, session_id, pull_number LIMIT {_ROWS_SHOWN}
"""

_ISSUES = f"""
    SELECT severity, rule, count(*) AS findings, count(DISTINCT session_id) AS sessions,
        max(observed_at) AS latest_at, arg_max(detail, observed_at) AS detail, arg_max(field, observed_at) AS field,
        arg_max(raw_value, observed_at) AS raw_value, count(*) OVER () AS rule_count
    FROM data_issues GROUP BY severity, rule
    ORDER BY list_position(['error', 'warning', 'info'], severity), findings DESC, rule LIMIT {_ISSUES_SHOWN}
"""


@dataclass(frozen=True)
class Facts:
    """The page's figures, as rows of plain values.

    `purchases`, `pulls` and `spend` are by period: `yesterday` (the UTC day before the moment), `week_before` (the
    seven days before that) and `overall`, which begins with the window of the file if it has one, as do `bins` and
    `top_pulls`. `trend` has the 14 completed days before the moment, `weeks` the two weeks of them, the later first.
    """

    moment: dt.datetime
    window: Window
    yesterday: dt.date
    purchases: dict[str, Row]
    pulls: dict[str, Row]
    spend: dict[str, Row]
    trend: list[Row]
    weeks: list[Row]
    signals: list[Row]
    bins: list[Row]
    types: list[Row]
    days: list[Row]
    packs: list[Row]
    odds: list[Row]
    funnel: list[Row]
    pending_ageing: list[Row]
    pending_longest: list[Row]
    top_pulls: list[Row]
    issues: list[Row]


def read_published(data: Layout, moment: dt.datetime) -> Facts:
    """The facts of the published file. Raises PublishError if there is none, and ReportError."""
    with open_warehouse(data.warehouse, data.memory_limit) as connection:
        try:
            return read(connection, moment)
        except duckdb.Error as error:
            words = exceeds_memory(error, data.memory_limit) or first_line(error)
            raise ReportError(
                f"{data.report} could not be made from {data.warehouse}: {words}; "
                "the published file is unchanged: run `phygitals refresh`, which publishes it again"
            ) from error


def read(connection: duckdb.DuckDBPyConnection, moment: dt.datetime) -> Facts:
    """Queries the published file over a connection with the time zone UTC. Raises duckdb.Error."""
    window = Window.of_file(connection)
    start = dt.datetime.combine(window.first_day, dt.time(), dt.UTC) if window.first_day else "-infinity"
    today = moment.astimezone(dt.UTC).date()
    yesterday, midnight = today - _DAY, dt.datetime.combine(today, dt.time(), dt.UTC)
    periods = {
        "yesterday": (midnight - _DAY, midnight),
        "week_before": (midnight - 8 * _DAY, midnight - _DAY),
        "overall": (start, "infinity"),
    }

    def rows(sql: str, **values: object) -> list[Row]:
        cursor = connection.execute(sql, values or None)
        names = [column[0] for column in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def by_period(sql: str) -> dict[str, Row]:
        return {name: rows(sql, first=first, end=end)[0] for name, (first, end) in periods.items()}

    return Facts(
        moment=moment,
        window=window,
        yesterday=yesterday,
        purchases=by_period(_PURCHASES),
        pulls=by_period(_PULLS),
        spend=by_period(_SPEND),
        trend=rows(_TREND, today=today),
        weeks=[rows(_WEEK, first=midnight - (i + 7) * _DAY, end=midnight - i * _DAY)[0] for i in (0, 7)],
        signals=rows(_SIGNALS, yesterday=yesterday),
        bins=rows(_BINS, first=start),
        types=rows(_TYPES),
        days=rows(_DAYS, today=today),
        packs=rows(_PACKS),
        odds=rows(_ODDS),
        funnel=rows(_FUNNEL, today=today),
        pending_ageing=rows(_PENDING_AGEING),
        pending_longest=rows(_PENDING_LONGEST, moment=moment),
        top_pulls=rows(_TOP_PULLS, first=start),
        issues=rows(_ISSUES),
    )
