"""The errors that a person is meant to read.

Here belongs the base class only. Each package defines its own errors on it, with a message of
one line: what happened, to which input, what to do. Anything else that is raised is a bug.
"""


class PipelineError(Exception):
    """A condition that stops the work and that a person can mend. `str()` is the whole message."""
