-- The day's items, each as it stood in its latest pull, with the facts that vendors give as traits.
-- Only keys are put in order to find the latest pulls: whole rows would take much more memory.
WITH chosen AS (
    SELECT session_id, pull_number
    FROM pulls
    WHERE item_id IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY item_id ORDER BY pulled_at DESC, resolved_at DESC, session_id DESC, pull_number DESC) = 1
),
totals AS (
    SELECT
        item_id,
        count(*) AS pull_count,
        min(pulled_at) AS first_pulled_at,
        min(buyback_price_usd) AS min_buyback_price_usd,
        max(buyback_price_usd) AS max_buyback_price_usd,
        list_sort(list(DISTINCT coalesce(item_type, 'unknown'))) AS item_types,
        min(quoted_pull(pulled_at, resolved_at, session_id, pull_number, buyback_price_usd))
            FILTER (buyback_price_usd IS NOT NULL) AS first_quoted_pull,
        max(quoted_pull(pulled_at, resolved_at, session_id, pull_number, buyback_price_usd), 2)
            FILTER (buyback_price_usd IS NOT NULL) AS latest_quoted_pulls
    FROM pulls
    WHERE item_id IS NOT NULL
    GROUP BY item_id
),
-- The trait names under which vendors give one fact, the preferred one first. Names of items mostly tell some of the
-- facts, too, but nothing promises their form, and they are cut at times, even within a grade: they are no source but
-- for the print run, which hardly a vendor gives as a trait.
facts AS (
    SELECT
        session_id,
        pull_number,
        value,
        attribute_number,
        lower(trim(trait_type)) AS trait
    FROM item_attributes
    SEMI JOIN chosen USING (session_id, pull_number)
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
        first_trait(value, trait, attribute_number, ['card number', 'serial number', 'number']) AS card_number,
        first_trait(value, trait, attribute_number, ['parallel']) AS parallel,
        first_trait(value, trait, attribute_number, ['print run', 'numbered to', 'serial numbered', 'numbered']) AS numbering,
        first_trait(value, trait, attribute_number, ['language']) AS language,
        first_trait(value, trait, attribute_number, ['insured value', 'insuredvalue', 'insured_value']) AS insured_value,
        list_unique(list(trait)) < count(trait) AS is_trait_repeated
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
    buyback_price_usd,
    latest.session_id,
    latest.pull_number,
    pulled_at,
    resolved_at,
    grading_company,
    grade,
    cert_number,
    year,
    category,
    set_name,
    card_number,
    parallel,
    coalesce(
        run_of_trait(numbering),
        run_in_text(parallel, NULL, NULL),
        run_in_text(name, category, card_number)
    ) AS print_run,
    language,
    insured_usd(insured_value) AS insured_value_usd,
    coalesce(is_trait_repeated, false) AS is_trait_repeated,
    pull_count,
    first_pulled_at,
    min_buyback_price_usd,
    max_buyback_price_usd,
    item_types,
    first_quoted_pull,
    latest_quoted_pulls
FROM pulls AS latest
SEMI JOIN chosen USING (session_id, pull_number)
JOIN totals ON totals.item_id = latest.item_id
LEFT JOIN cards ON cards.session_id = latest.session_id AND cards.pull_number = latest.pull_number
ORDER BY latest.item_id
