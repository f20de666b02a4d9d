"""The DuckDB file that holds every published table."""
