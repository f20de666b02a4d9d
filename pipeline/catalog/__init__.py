"""Descriptions of the tables: column lineage, table profiles, the README's dictionary, the trace of a session."""
