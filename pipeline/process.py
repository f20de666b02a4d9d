"""Settings that hold for the whole process. They are made here, once, and at no import and in no constructor."""

from __future__ import annotations

import csv
import gc

import pyarrow as pa

# The default for DuckDB alone. At 50 million pulls, Arrow and Python take up to 0.8 GB more.
MEMORY_LIMIT = "1.1GB"
_LONGEST_FIELD = 64 * 1024 * 1024  # characters of a CSV field
# A request allocates hundreds of objects and leaves few cycles. Collecting every 700 allocations, Python's default,
# takes a tenth of a busy run's time.
_ALLOCATIONS_BETWEEN_COLLECTIONS = 20_000


def prepare_process() -> None:
    """Sets the limits and the allocators of the libraries that the pipeline uses. May be called again."""
    csv.field_size_limit(_LONGEST_FIELD)
    gc.set_threshold(_ALLOCATIONS_BETWEEN_COLLECTIONS, *gc.get_threshold()[1:])
    # A long run makes many small batches. Arrow's own allocators keep their memory; the system's returns it.
    pa.set_memory_pool(pa.system_memory_pool())
