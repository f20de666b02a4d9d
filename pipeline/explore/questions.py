"""The ten questions that analysts ask first, each answered by one query of the published tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """A question, the query that answers it, and how to read the answer."""

    title: str
    sql: str
    note: str


QUESTIONS = {
    "pays_most": Question(
        "Which pack pays most per dollar, and how certain is it?",
        """
SELECT pack_id, pack_name, quoted_pull_count, multiple_mean_capped_5x, multiple_mean_capped_5x_low,
    multiple_mean_capped_5x_high, multiple_median, multiple_median_low, multiple_median_high, return_ratio,
    half_of_total_pull_count
FROM pack_economics
ORDER BY multiple_mean_capped_5x DESC NULLS LAST, pack_id
        """,
        "Packs whose intervals overlap may be equal. return_ratio has no interval: half_of_total_pull_count is the "
        "number of pulls that make half of its value.",
    ),
    "value_trend": Question(
        "How does the value of a pull develop?",
        """
SELECT signal_date, count AS pull_count, value AS typical_quote_usd, usual AS usual_usd, usual_low AS usual_low_usd,
    usual_high AS usual_high_usd, is_unusual
FROM daily_signals
WHERE signal = 'quoted_value'
ORDER BY signal_date DESC
        """,
        "The typical quote is the geometric mean of the day. It is unusual outside the control limits, which follow "
        "from the 28 days before.",
    ),
    "lucky_users": Question(
        "Which users are lucky?",
        """
SELECT user_id, quoted_pull_count, spend_usd, buyback_total_usd, return_ratio, return_ratio_shrunk
FROM users
WHERE quoted_pull_count > 0
ORDER BY return_ratio_shrunk DESC NULLS LAST, user_id
        """,
        "return_ratio_shrunk allows for chance: it is near the mean of all users where a user bought little. Multiples "
        "above 5 count as 5. If all users have the same value, their differences are no larger than chance.",
    ),
    "time_to_fulfilment": Question(
        "How long does a purchase take to be fulfilled?",
        """
SELECT submitted_date, submitted, fulfilled, pending, fulfilled_when_first_asked, latency_p50_seconds,
    latency_p90_seconds, latency_p99_seconds, is_mature
FROM resolution_funnel
ORDER BY submitted_date DESC
        """,
        "Upper limits, since polling notices a fulfilment late. The times of sessions fulfilled when first asked "
        "measure the delay of the first poll. Pending sessions count as longer.",
    ),
    "grade_mix": Question(
        "Which grades are pulled?",
        """
SELECT grader, grade_number, grade_label, count(*) AS item_count, sum(pull_count)::BIGINT AS pull_count,
    sum(pull_count) / sum(sum(pull_count)) OVER () AS pull_share, count(latest_buyback_price_usd) AS priced_item_count,
    median(latest_buyback_price_usd) AS buyback_median_usd
FROM items
GROUP BY grader, grade_number, grade_label
ORDER BY pull_count DESC, grader, grade_number, grade_label
        """,
        "Items without a readable grader or grade are in the rows with an unknown one.",
    ),
    "top_1_percent": Question(
        "How much of the value is in the top 1 % of the pulls?",
        """
SELECT item_type, priced_pull_count, buyback_total_usd, top_1_percent_share, half_of_total_pull_count,
    buyback_median_usd, buyback_p99_usd, buyback_max_usd
FROM item_types
ORDER BY priced_pull_count DESC
        """,
        "half_of_total_pull_count is the number of top pulls that make half of the value. If it is small, those pulls "
        "decide every mean.",
    ),
    "week_over_week": Question(
        "What changed from week to week?",
        """
SELECT week_start_date, pack_id, is_complete, quoted_pull_count, win_rate, win_rate_low, win_rate_high,
    win_rate - lag(win_rate) OVER weeks AS win_rate_change, multiple_median,
    quoted_pull_count - lag(quoted_pull_count) OVER weeks AS pull_count_change
FROM pack_weeks
WINDOW weeks AS (PARTITION BY pack_id ORDER BY week_start_date)
ORDER BY week_start_date DESC, pack_id
        """,
        "A change is telling where the intervals of the two weeks do not overlap. The latest week may be partial.",
    ),
    "stuck": Question(
        "Which purchases are stuck, and why?",
        """
SELECT purchases.session_id, status, pack_id, price_usd, purchases.submitted_at, last_polled_at, poll_count,
    string_agg(DISTINCT rule || ': ' || detail, '; ' ORDER BY rule || ': ' || detail) AS issues
FROM purchases LEFT JOIN data_issues ON data_issues.session_id = purchases.session_id
WHERE status IN ('pending', 'expired')
GROUP BY ALL
ORDER BY submitted_at
        """,
        "Without issues, the API answers that the session is pending. With poll_count 0, the session was not polled "
        "yet.",
    ),
    "price_changes": Question(
        "How do quotes change when an item is pulled again?",
        """
SELECT item_id, name, item_type, pull_count, mean_days_between_pulls, previous_buyback_price_usd,
    latest_buyback_price_usd, change_ratio, change_log, avg(change_log) OVER () AS mean_change_log,
    count(change_log) OVER () AS changed_item_count
FROM repulled_items
ORDER BY abs(change_log) DESC NULLS LAST, item_id
        """,
        "mean_change_log, over changed_item_count items, is near 0 if quotes neither rise nor fall; a mean of "
        "change_ratio would be too high.",
    ),
    "best_groups": Question(
        "Which sets, years, graders and print runs are worth most?",
        """
SELECT CASE grouping(set_name, year_number, grader, print_run)
        WHEN 7 THEN 'set' WHEN 11 THEN 'year' WHEN 13 THEN 'grader' ELSE 'print run' END AS grouped_by,
    coalesce(set_name, year_number::VARCHAR, grader, print_run::VARCHAR) AS group_value, count(*) AS item_count,
    sum(pull_count)::BIGINT AS pull_count, count(latest_buyback_price_usd) AS priced_item_count,
    median(latest_buyback_price_usd) AS buyback_median_usd, max(max_buyback_price_usd) AS buyback_max_usd
FROM items
GROUP BY GROUPING SETS ((set_name), (year_number), (grader), (print_run))
HAVING count(latest_buyback_price_usd) >= 10
ORDER BY buyback_median_usd DESC, grouped_by, group_value
        """,
        "Groups with at least 10 quoted items. The figures grouped by set, year, grader or print run have the "
        "intervals of the medians.",
    ),
}
