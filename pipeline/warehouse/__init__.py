"""Publishing: the lake's tables as one DuckDB file that readers may hold open at any time."""
