-- A record that names its session is of the item's pull there; another is of the latest pull before the sale, else, since
-- answers may come late, of the first one after it.
WITH records AS (
    SELECT content_sha256, row_number, source_file, submitted_at, item_id, session_id AS named_session_id, sold_at, amount_usd
    FROM sellback_submissions
    WHERE rejected_reason IS NULL
),
chosen AS (
    SELECT
        records.content_sha256,
        records.row_number,
        arg_min({
            'session_id': pulls.session_id, 'pull_number': pull_number, 'item_type': item_type,
            'buyback_price_usd': buyback_price_usd, 'pulled_date': pulled_date, 'resolved_at': resolved_at
        }, {
            'is_after': pulled_at > sold_at, 'distance': abs(epoch_us(sold_at) - epoch_us(pulled_at)),
            'session_id': pulls.session_id, 'pull_number': pull_number
        }) AS pull
    FROM records JOIN pulls ON pulls.item_id = records.item_id
    WHERE named_session_id IS NULL OR named_session_id = pulls.session_id
    GROUP BY records.content_sha256, records.row_number
)
SELECT
    records.content_sha256,
    records.row_number,
    source_file,
    submitted_at,
    item_id,
    sold_at,
    amount_usd,
    pull.session_id AS session_id,
    pull.pull_number AS pull_number,
    pull.item_type AS item_type,
    pull.buyback_price_usd AS buyback_price_usd,
    pull.pulled_date AS pulled_date,
    pull.resolved_at AS resolved_at,
    CASE WHEN pull.session_id IS NOT NULL THEN
        row_number() OVER (
            PARTITION BY pull.session_id, pull.pull_number
            ORDER BY submitted_at, source_file, records.content_sha256, records.row_number
        ) END AS occurrence
FROM records
LEFT JOIN chosen ON chosen.content_sha256 = records.content_sha256 AND chosen.row_number = records.row_number
ORDER BY submitted_at, source_file, records.content_sha256, records.row_number
