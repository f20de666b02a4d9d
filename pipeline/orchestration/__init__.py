"""The Dagster side: thin assets over the core, their checks, and what starts them.

Nothing is decided here. An asset calls one function of the core and says what came of it.
"""
