"""The data directory on disk: layout and lock, Parquet objects written whole, raw log of answers, manifest."""
