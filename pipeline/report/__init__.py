"""The report: what the published file says, as one HTML page that anybody can open, print or send on.

Here belongs reading the published DuckDB file for the page (`queries`), wording figures for people (`wording`),
drawing charts (`charts`, with Vega-Altair) and putting it all together (`page`). No figure is derived here that a mart
holds, and nothing here reads the lake or raw.
"""
