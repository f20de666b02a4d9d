"""The published DuckDB file with every published table."""
