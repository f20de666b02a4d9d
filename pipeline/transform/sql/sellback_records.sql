-- A record with a session belongs to the item's pull in that session. A record without one belongs to the latest pull
-- before the sale, else to the first pull after it, since answers may be late. Window functions do the ranking because
-- they can spill to disk; records may be as many as pulls.
WITH records AS (
    SELECT content_sha256, row_number, source_file, submitted_at, item_id, session_id AS named_session_id, sold_at, amount_usd
    FROM sellback_submissions
    WHERE rejected_reason IS NULL AND plausible_time(sold_at, submitted_at) IS NOT NULL
),
fitting AS (
    SELECT
        records.content_sha256, records.row_number, source_file, submitted_at, records.item_id, sold_at, amount_usd,
        pulls.session_id, pull_number, item_type, buyback_price_usd, pulled_date, resolved_at,
        pulled_at > sold_at AS is_after,
        abs(epoch_us(sold_at) - epoch_us(pulled_at)) AS distance
    FROM records JOIN pulls ON pulls.item_id = records.item_id
    WHERE named_session_id IS NULL OR named_session_id = pulls.session_id
),
chosen AS (
    SELECT *
    FROM fitting
    QUALIFY row_number() OVER (
        PARTITION BY content_sha256, source_file, fitting.row_number ORDER BY is_after, distance, session_id, pull_number
    ) = 1
)
SELECT
    content_sha256,
    chosen.row_number,
    source_file,
    submitted_at,
    item_id,
    sold_at,
    amount_usd,
    session_id,
    pull_number,
    item_type,
    buyback_price_usd,
    pulled_date,
    resolved_at,
    row_number() OVER (
        PARTITION BY session_id, pull_number ORDER BY submitted_at, source_file, content_sha256, chosen.row_number
    ) AS occurrence
FROM chosen
UNION ALL
SELECT
    content_sha256, records.row_number, source_file, submitted_at, item_id, sold_at, amount_usd, NULL, NULL, NULL, NULL, NULL,
    NULL, NULL
FROM records ANTI JOIN chosen ON chosen.content_sha256 = records.content_sha256
    AND chosen.source_file = records.source_file AND chosen.row_number = records.row_number
ORDER BY submitted_at, source_file, content_sha256, row_number
