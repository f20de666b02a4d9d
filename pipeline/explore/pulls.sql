-- One row per pull, with what filters, groups and figures need of the pull, of its session and of its item.
WITH numbered AS (
    -- A number takes a fraction of the time of a session's id to group by.
    SELECT session_id, row_number() OVER ()::UINTEGER AS session_number, pull_count AS pulls_a_session
    FROM purchases
)
SELECT
    session_id,
    pull_number,
    session_number,
    pulls_a_session,
    pulled_at,
    pulled_date,
    date_trunc('week', pulled_date)::DATE AS week_start_date,
    pulls.pack_id,
    pulls.item_type,
    pulls.user_id,
    pulls.item_id,
    pulls.name,
    pulls.image_url,
    grader,
    CASE WHEN grade_number IS NULL THEN grade_label ELSE concat_ws(' ', format('{:g}', grade_number), grade_label) END AS grade,
    category,
    set_name,
    year_number,
    print_run,
    buyback_price_usd,
    session_price_usd,
    multiple,
    capped(multiple) AS capped,
    coalesce(is_win(buyback_price_usd, pulls_a_session, session_price_usd), false) AS is_win,
    bin_of(multiple)::SMALLINT AS multiple_bin,
    bin_of(buyback_price_usd::DOUBLE)::SMALLINT AS quote_bin
FROM pulls
JOIN numbered USING (session_id)
LEFT JOIN items USING (item_id)
