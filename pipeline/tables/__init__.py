"""Deriving the declared tables: one SQL query each (`sql/`), built where inputs changed, and checked."""
