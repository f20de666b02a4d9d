"""Builds the derived tables from raw: one SQL query a table, and only the days that something new came for."""
