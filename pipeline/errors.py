"""Errors for people.

This module has the base class only. Each package derives its own errors from it, with a message of
one line: what happened, to which input, what to do. Anything else that is raised is a bug.
"""


class PipelineError(Exception):
    """A condition that stops the work and that a person can correct. `str()` is the whole message."""
