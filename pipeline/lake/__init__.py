"""The data directory: where things lie, who may write, and how to write without half-written states.

No other package knows a path below the data directory.
"""
