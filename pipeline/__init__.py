"""Polls Phygitals pack purchases until they are final and publishes the pulls.

Data flows one way: settings → submissions → polling → raw → staging → marts → publish.
Each package below is one stage of that flow; `orchestration/` exposes them to Dagster.
"""
