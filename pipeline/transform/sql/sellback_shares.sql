-- Uses counts by day only: pulls per day, and how many of them were sold after each number of days.
WITH sold AS (
    SELECT pulled_date, days_since_pull, count(*) AS sold_count
    FROM sellbacks
    GROUP BY pulled_date, days_since_pull
),
reach AS (
    SELECT
        min(sold_date) AS first_date,
        -- A recorded sale later than the reading of its record says nothing about the time in between.
        max(least(sold_date, utc_day(submitted_at))) FILTER (NOT is_future(submitted_at)) AS last_date,
        max(days_since_pull) AS longest
    FROM sellbacks
),
-- Pulls from before the first record may have been sold without one.
cohorts AS (
    SELECT
        pulled_date,
        sum(pull_count)::BIGINT AS pull_count,
        least(any_value(longest), any_value(last_date) - pulled_date) AS seen_days
    FROM daily_quote_counts CROSS JOIN reach
    WHERE pulled_date BETWEEN first_date AND last_date
    GROUP BY pulled_date
),
followed AS (
    SELECT pulled_date, pull_count, unnest(range(0, seen_days + 1)) AS days_since_pull FROM cohorts
),
counted AS (
    SELECT
        followed.days_since_pull,
        coalesce(sold_count, 0) AS sold_count,
        pull_count - coalesce(sum(sold_count) OVER (
            PARTITION BY followed.pulled_date ORDER BY followed.days_since_pull ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ), 0) AS at_risk_count
    FROM followed
    LEFT JOIN sold ON sold.pulled_date = followed.pulled_date AND sold.days_since_pull = followed.days_since_pull
),
by_age AS (
    SELECT days_since_pull, sum(at_risk_count)::BIGINT AS at_risk_count, sum(sold_count)::BIGINT AS sold_count
    FROM counted
    GROUP BY days_since_pull
)
SELECT
    days_since_pull,
    at_risk_count,
    sold_count,
    round(1 - product(1 - sold_count / at_risk_count) OVER (ORDER BY days_since_pull ROWS UNBOUNDED PRECEDING), 12) AS sold_share
FROM by_age
WHERE at_risk_count > 0
ORDER BY days_since_pull
