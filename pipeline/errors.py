"""The base class of errors for people.

Each package derives its own errors from it. Their messages are one line: what failed, on which input, what to do. Any
other exception is a bug.
"""


class PipelineError(Exception):
    """A condition that stops the work and that a user can correct. `str()` is the whole message."""
