"""Runs of the command line: recorded with those that Dagster started, and told from them.

The timeline of the UI has only runs with a job origin, which it groups by the names of code location and repository. A
run with an origin is also retried by Dagster's daemon if its process dies, and seen by its failure sensor. Runs of the
command line are excluded from both.
"""

from __future__ import annotations

import functools
import json
from typing import Any

import dagster as dg

_LOCATION = "phygitals"  # its name in `workspace.yaml`
_REPOSITORY = "__repository__"  # Dagster's name for the definitions of a module
_MAX_RETRIES = "dagster/max_retries"

TAGS = {_MAX_RETRIES: "0"}  # of a run of the command line


def give_runs_an_origin(instance: dg.DagsterInstance, job: str) -> None:
    """Gives the runs of the job that are created with `instance` from now on the origin of the command line."""
    create = functools.partial(instance.create_run_for_job, remote_job_origin=_origin(job))
    setattr(instance, "create_run_for_job", create)  # noqa: B010 - replaces a method


def is_from_command_line(run: dg.DagsterRun) -> bool:
    """Whether `phygitals` created the run.

    Tags do not tell: a run that is executed again from the UI has those of the first, and an origin of its own.
    """
    return run.remote_job_origin is not None and run.remote_job_origin == _origin(run.job_name)


def is_started_by_dagster(run: dg.DagsterRun) -> bool:
    """Whether the UI or the daemon started the run, and not a shell."""
    return run.remote_job_origin is not None and not is_from_command_line(run)


def is_retried(run: dg.DagsterRun) -> bool:
    """Whether the daemon retries the run if its process dies."""
    return run.remote_job_origin is not None and run.tags.get(_MAX_RETRIES) != TAGS[_MAX_RETRIES]


def _origin(job: str) -> Any:  # its class has no public name
    """An origin that names its location and cannot be loaded, in the form in which Dagster stores it.

    Dagster goes on to read what it stored once. The origins of the runs that it starts have a host or a socket, so they
    never equal this one.
    """
    location = {"__class__": "RegisteredRepositoryLocationOrigin", "location_name": _LOCATION}
    repository = {
        "__class__": "ExternalRepositoryOrigin",
        "repository_location_origin": location,
        "repository_name": _REPOSITORY,
    }
    stored = {"__class__": "ExternalPipelineOrigin", "external_repository_origin": repository, "pipeline_name": job}
    return dg.deserialize_value(json.dumps(stored))
