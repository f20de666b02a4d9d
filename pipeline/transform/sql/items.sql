-- Ranked by their keys alone: sorting all columns takes longer than reading them a second time.
WITH latest_pulls AS (
    SELECT session_id, pull_number
    FROM item_days
    QUALIFY row_number() OVER (PARTITION BY item_id ORDER BY pulled_at DESC, resolved_at DESC, session_id DESC, pull_number DESC) = 1
),
latest AS (
    FROM item_days SEMI JOIN latest_pulls USING (session_id, pull_number)
),
totals AS (
    SELECT
        item_id,
        sum(pull_count)::BIGINT AS pull_count,
        min(first_pulled_at) AS first_pulled_at,
        max(pulled_at) AS last_pulled_at,
        min(min_buyback_price_usd) AS min_buyback_price_usd,
        max(max_buyback_price_usd) AS max_buyback_price_usd
    FROM item_days
    GROUP BY item_id
),
-- Millions of items share a few dozen labels, each of which is taken apart once.
labels AS (
    SELECT
        grading_company,
        grade,
        label_words(grade) AS words,
        grader_in(label_words(grading_company)) AS company_grader,
        CASE WHEN grading_company IS NULL THEN grader_in(words) END AS grade_grader
    FROM (SELECT DISTINCT grading_company, grade FROM latest)
),
readings AS (
    SELECT
        grading_company AS labelled_company,
        grade AS labelled_grade,
        coalesce(company_grader, grade_grader) AS grader,
        CASE WHEN company_grader IS NOT NULL THEN 'grading_company' WHEN grade_grader IS NOT NULL THEN 'grade' END AS grader_source,
        grade_number_in(words) AS grade_number,
        grade_label_in(words) AS grade_label
    FROM labels
)
SELECT
    latest.item_id,
    {{ pull_columns }},
    {{ parsed_card_columns }},
    totals.pull_count,
    totals.first_pulled_at,
    last_pulled_at,
    buyback_price_usd AS latest_buyback_price_usd,
    totals.min_buyback_price_usd,
    totals.max_buyback_price_usd
FROM (
    SELECT
        *,
        cert_digits(cert_number) AS cert_digits,
        year_number(year, extract(year FROM resolved_at::DATE)) AS year_number
    FROM latest
) AS latest
JOIN totals ON totals.item_id = latest.item_id
LEFT JOIN readings ON labelled_company IS NOT DISTINCT FROM grading_company AND labelled_grade IS NOT DISTINCT FROM grade
ORDER BY latest.item_id
