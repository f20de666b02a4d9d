-- A table of its own, since these sessions are few and a search through all purchases is slow.
SELECT session_id FROM purchases WHERE last_polled_at > resolved_at ORDER BY session_id
