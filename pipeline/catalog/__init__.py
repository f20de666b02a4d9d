"""Descriptions of the tables: column lineage, table profiles, the trace of a session."""
