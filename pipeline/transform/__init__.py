"""Builds the derived tables from raw: one SQL query per table, and only the days with new data."""
