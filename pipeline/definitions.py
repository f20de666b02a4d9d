"""What Dagster loads. `phygitals refresh` puts the same together around a workspace that it watches."""

from pipeline.orchestration.composition import build_definitions
from pipeline.orchestration.resources import workspace_resource

defs = build_definitions(workspace_resource())
