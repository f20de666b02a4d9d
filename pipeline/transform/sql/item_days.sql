-- The part's items, each as it stood in its latest pull, with the facts that vendors give as traits.
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
        {{ first_traits }},
        list_unique(list(trait)) < count(trait) AS is_trait_repeated
    FROM facts
    GROUP BY session_id, pull_number
)
SELECT
    latest.item_id,
    {{ pull_columns }},
    buyback_price_usd,
    session_id,
    pull_number,
    pulled_at,
    resolved_at,
    {{ card_columns }},
    pull_count,
    first_pulled_at,
    min_buyback_price_usd,
    max_buyback_price_usd,
    item_types,
    first_quoted_pull,
    latest_quoted_pulls
FROM (
    SELECT
        pulls.*,
        cards.* EXCLUDE (session_id, pull_number, is_trait_repeated),
        coalesce(
            run_of_trait(numbering),
            run_in_text(parallel, NULL, NULL),
            run_in_text(name, category, card_number)
        ) AS print_run,
        insured_usd(insured_value) AS insured_value_usd,
        coalesce(is_trait_repeated, false) AS is_trait_repeated
    FROM pulls
    SEMI JOIN chosen USING (session_id, pull_number)
    LEFT JOIN cards ON cards.session_id = pulls.session_id AND cards.pull_number = pulls.pull_number
) AS latest
JOIN totals ON totals.item_id = latest.item_id
ORDER BY latest.item_id
