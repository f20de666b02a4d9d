"""What Dagster loads. `phygitals refresh` puts the same together around a workspace that it watches."""

from pipeline.assets.composition import build_definitions
from pipeline.assets.resources import workspace_resource

defs = build_definitions(workspace_resource())
