"""The definitions that Dagster loads. `phygitals refresh` builds the same definitions around its own workspace."""

from pipeline.orchestration.composition import build_definitions
from pipeline.orchestration.resources import workspace_resource

defs = build_definitions(workspace_resource())
