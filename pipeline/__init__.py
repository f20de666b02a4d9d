"""Follows Phygitals pack purchases to their end and publishes what was pulled.

Data flows one way: settings → submissions → polling → raw → staging → marts → publish.
Each package below is one station of that way; `assets/` hangs them on Dagster.
"""
