"""The checks: generated from declarations, reconciliations, observations, and of the published file."""
