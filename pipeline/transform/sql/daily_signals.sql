-- Rates of many sessions vary more between days than chance within a day explains, so a plain control chart gives false
-- alarms. Laney (2002) widens its limits by the variation between the days before. Each figure is the mean of `n` values
-- with the sum `total`; `squares` is the sum of their squares, needed if they are neither shares nor counts.
WITH today AS (
    SELECT utc_day(max(latest_at)) AS today FROM submission_days
),
calendar AS (
    SELECT unnest(generate_series(min(submitted_date), max(today) - 1, INTERVAL 1 DAY))::DATE AS signal_date
    FROM submission_days CROSS JOIN today
),
pulled AS (
    SELECT
        pulled_date AS signal_date,
        pulls_where(pull_count, session_price_usd > 0) AS paid,
        pulls_where(pull_count, is_win(buyback_price_usd, pulls_a_session, session_price_usd)) AS wins,
        pulls_where(pull_count, buyback_price_usd > 0) AS valued,
        -- A sum of doubles depends on their order, which differs between builds; a sum of decimals does not.
        sum((pull_count * log_of(buyback_price_usd))::DECIMAL(38,12))::DOUBLE AS logs,
        sum((pull_count * log_of(buyback_price_usd) ^ 2)::DECIMAL(38,12))::DOUBLE AS squared_logs
    FROM daily_quote_counts
    WHERE buyback_price_usd IS NOT NULL
    GROUP BY pulled_date
),
figures AS (
    SELECT signal_date, 'purchases' AS signal, coalesce(submitted, 0)::DOUBLE AS total, 1::DOUBLE AS n,
        NULL::DOUBLE AS squares, coalesce(submitted, 0)::BIGINT AS count
    FROM calendar LEFT JOIN submission_days ON submitted_date = signal_date
    UNION ALL
    SELECT submitted_date, 'failed_rate', failed, failed + fulfilled, NULL, failed + fulfilled FROM submission_days
    UNION ALL
    SELECT signal_date, 'win_rate', wins, paid, NULL, paid AS count FROM pulled
    UNION ALL
    SELECT signal_date, 'quoted_value', logs, valued, squared_logs, valued AS count FROM pulled
),
known AS (
    SELECT figures.* FROM figures CROSS JOIN today WHERE n > 0 AND signal_date < today
),
former AS (
    SELECT
        known.signal_date,
        known.signal,
        count(before.n) AS days,
        sum(before.n) AS former_n,
        sum(before.total ORDER BY before.signal_date) AS former_total,
        sum(before.total ^ 2 / before.n ORDER BY before.signal_date) AS between_squares,
        sum(before.squares ORDER BY before.signal_date) AS former_squares
    FROM known LEFT JOIN known AS before ON before.signal = known.signal
        AND before.signal_date >= known.signal_date - 28 AND before.signal_date < known.signal_date
    GROUP BY known.signal_date, known.signal
),
spread AS (
    SELECT
        known.*,
        days,
        former_n,
        former_total / former_n AS centre,
        -- Half a case avoids a zero variance if there were no cases, or nothing but cases.
        CASE known.signal
            WHEN 'purchases' THEN greatest(former_total, 0.5) / former_n
            WHEN 'quoted_value' THEN (former_squares - between_squares) / nullif(former_n - days, 0)
            ELSE greatest(former_total, 0.5) * greatest(former_n - former_total, 0.5) / former_n ^ 2
        END AS variance,
        between_squares
    FROM known JOIN former ON former.signal_date = known.signal_date AND former.signal = known.signal
),
measured AS (
    SELECT
        *,
        -- A variance below the rounding error of these differences counts as zero.
        CASE WHEN days >= 14 AND variance > 1e-9 THEN
            greatest(1, sqrt(greatest(between_squares - former_n * centre ^ 2, 0) / variance / (days - 1))) END AS day_spread,
        sqrt(greatest(variance, 0) * (1 / n + 1 / former_n)) * day_spread AS error,
        total / n AS own
    FROM spread
),
limits AS (
    SELECT
        *,
        signal_value(signal, own) AS value,
        signal_value(signal, centre) AS usual,
        signal_value(signal, centre - 3 * error) AS usual_low,
        signal_value(signal, centre + 3 * error) AS usual_high,
        (own - centre) / error AS z,
        coalesce(abs(z) > 3, false) AS is_unusual
    FROM measured
),
judged AS (
    SELECT
        *,
        coalesce(
            usual_low > usual / 2 OR usual_high < CASE WHEN signal IN ('failed_rate', 'win_rate') THEN least(1, 2 * usual)
                ELSE 2 * usual END,
            false) AS is_telling
    FROM limits
)
SELECT
    signal_date,
    signal,
    value,
    count,
    CASE WHEN error IS NOT NULL THEN usual END AS usual,
    usual_low,
    usual_high,
    z,
    day_spread,
    days AS former_day_count,
    is_unusual,
    is_telling,
    signal_words(signal, value) || CASE
        WHEN days < 14 THEN ': no control limits, because only ' || days || ' of the 28 days before have data.'
        WHEN error IS NULL THEN ': no control limits, because the values did not vary within the days before.'
        WHEN is_unusual THEN ': unusually ' || CASE WHEN z > 0 THEN 'high' ELSE 'low' END || '; the usual range is '
            || signal_range(signal, usual_low, usual_high) || '.'
        WHEN NOT is_telling THEN ': too little data on the day for its usual range of '
            || signal_range(signal, usual_low, usual_high) || ' to be informative.'
        ELSE ': within the usual range of ' || signal_range(signal, usual_low, usual_high) || '.'
    END AS sentence
FROM judged
ORDER BY signal_date, signal
