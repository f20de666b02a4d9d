"""What the builder asks of tables as they stand, to find out which of their days are to be built anew."""

RESOLUTION_DAYS_OF_TOUCHED = """
    SELECT DISTINCT utc_day(resolved_at)::VARCHAR
    FROM (SELECT session_id, resolved_at FROM rebuilt UNION ALL SELECT session_id, resolved_at FROM {former})
    SEMI JOIN touched USING (session_id)
    WHERE resolved_at IS NOT NULL
"""

CONTENT_BY_DAY = """
    SELECT utc_day(submitted_at)::VARCHAR, count(*), bit_xor(hash(purchase)), sum(hash(purchase))
    FROM {source} AS purchase GROUP BY ALL
"""
RESOLVED_BETWEEN = """
    SELECT
        file_name,
        utc_day(min(stats_min_value::TIMESTAMPTZ))::VARCHAR AS first_day,
        utc_day(max(stats_max_value::TIMESTAMPTZ))::VARCHAR AS last_day
    FROM parquet_metadata($paths)
    WHERE path_in_schema = 'resolved_at' AND stats_min_value IS NOT NULL
    GROUP BY file_name
    ORDER BY file_name
"""
