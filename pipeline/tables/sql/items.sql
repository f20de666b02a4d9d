WITH latest AS (
    SELECT *
    FROM pulls
    WHERE item_id IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY item_id ORDER BY pulled_at DESC, resolved_at DESC, session_id DESC, pull_number DESC) = 1
),
totals AS (
    SELECT
        item_id,
        count(*) AS pull_count,
        min(pulled_at) AS first_pulled_at,
        max(pulled_at) AS last_pulled_at,
        min(buyback_price_usd) AS min_buyback_price_usd,
        max(buyback_price_usd) AS max_buyback_price_usd
    FROM pulls
    WHERE item_id IS NOT NULL
    GROUP BY item_id
),
-- The trait names under which vendors give one fact, the preferred one first. Names of items mostly tell some of the
-- facts, too, but nothing promises their form, and they are cut at times, even within a grade: they are no source.
facts AS (
    SELECT
        session_id,
        pull_number,
        not_blank(value) AS value,
        attribute_number,
        lower(trim(trait_type)) AS trait
    FROM item_attributes
    SEMI JOIN latest USING (session_id, pull_number)
    WHERE not_blank(value) IS NOT NULL
),
cards AS (
    SELECT
        session_id,
        pull_number,
        first_trait(value, trait, attribute_number, ['grading company', 'grader']) AS grading_company,
        first_trait(value, trait, attribute_number, ['grade', 'the grade', 'gradenum']) AS grade,
        first_trait(value, trait, attribute_number, ['cert number', 'grading id', 'serial']) AS cert_number,
        first_trait(value, trait, attribute_number, ['year']) AS year,
        first_trait(value, trait, attribute_number, ['category']) AS category,
        first_trait(value, trait, attribute_number, ['set', 'set name']) AS set_name,
        first_trait(value, trait, attribute_number, ['card number', 'serial number', 'number']) AS card_number
    FROM facts
    GROUP BY session_id, pull_number
),
-- Millions of items share a few dozen labels, each of which is taken apart once.
labels AS (
    SELECT
        grading_company,
        grade,
        label_words(grade) AS words,
        grader_in(label_words(grading_company)) AS company_grader,
        CASE WHEN grading_company IS NULL THEN grader_in(words) END AS grade_grader
    FROM (SELECT DISTINCT grading_company, grade FROM cards)
),
readings AS (
    SELECT
        grading_company,
        grade,
        coalesce(company_grader, grade_grader) AS grader,
        CASE WHEN company_grader IS NOT NULL THEN 'grading_company' WHEN grade_grader IS NOT NULL THEN 'grade' END AS grader_source,
        grade_number_in(words) AS grade_number,
        grade_label_in(words) AS grade_label
    FROM labels
)
SELECT
    latest.item_id,
    item_type,
    name,
    mint_address,
    collection_address,
    token_standard,
    image_url,
    back_image_url,
    cards.grading_company,
    grader,
    grader_source,
    cards.grade,
    grade_number,
    grade_label,
    cert_number,
    cert_digits(cert_number) AS cert_digits,
    year,
    year_number(year, extract(year FROM resolved_at::DATE)) AS year_number,
    category,
    set_name,
    card_number,
    pull_count,
    first_pulled_at,
    last_pulled_at,
    buyback_price_usd AS latest_buyback_price_usd,
    min_buyback_price_usd,
    max_buyback_price_usd
FROM latest
JOIN totals ON totals.item_id = latest.item_id
LEFT JOIN cards ON cards.session_id = latest.session_id AND cards.pull_number = latest.pull_number
LEFT JOIN readings ON readings.grading_company IS NOT DISTINCT FROM cards.grading_company AND readings.grade IS NOT DISTINCT FROM cards.grade
ORDER BY latest.item_id
