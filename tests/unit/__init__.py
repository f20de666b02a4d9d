"""Rules by themselves: no server, no Dagster."""
