-- Kept apart, for they are few, and looking for them in the purchases of the whole history takes long.
SELECT session_id FROM purchases WHERE last_polled_at > resolved_at ORDER BY session_id
