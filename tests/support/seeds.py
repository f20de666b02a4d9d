"""Seeds of random tests."""

import os
import random

IS_CI = bool(os.environ.get("CI"))


def new_seed() -> int:
    """Another seed in each run at a desk. CI has one seed, so that its result depends on the change alone."""
    return 1 if IS_CI else random.randrange(10**6)  # noqa: S311
