"""What users start: commands, Dagster, the UI, notebooks."""
