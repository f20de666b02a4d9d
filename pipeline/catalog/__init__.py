"""What is said of tables: lineage of columns, profiles, the dictionary in the README, the trace of a session."""
