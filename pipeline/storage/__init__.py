"""The data directory on disk: layout, lock, atomically written Parquet objects, raw log of answers, manifest."""
