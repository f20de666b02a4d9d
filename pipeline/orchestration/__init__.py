"""The Dagster side: thin assets over the core, their checks, schedules and sensors.

It contains no rules. An asset calls one function of the core and reports the result.
"""
