"""The Dagster side: thin assets over the core, their checks, schedules and sensors.

It contains no rules: an asset calls one function of the core and reports the result.
"""
