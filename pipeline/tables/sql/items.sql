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
-- The trait names under which vendors give one fact, the preferred one first.
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
    grading_company,
    grade,
    grade_number(grade) AS grade_number,
    cert_number,
    year,
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
ORDER BY latest.item_id
