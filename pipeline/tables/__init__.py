"""The tables: what each is (`catalog/`), how it is derived (`sql/`), and the building of it."""
