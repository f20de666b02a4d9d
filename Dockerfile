# The image of the daemon, the webserver and the runs: `docker build .` in the clone.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /build
COPY requirements-distributed.lock .
RUN python3 -m venv /opt/phygitals \
 && /opt/phygitals/bin/pip install --no-cache-dir --require-hashes -r requirements-distributed.lock
# The package is built in an environment of its own, with the locked versions of what only a build needs.
COPY requirements-dev.lock .
RUN python3 -m venv /opt/build \
 && sed -n -E '/^(packaging|setuptools|setuptools-scm|vcs-versioning)==/,/[^\\]$/p' requirements-dev.lock > build.lock \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes -r build.lock
COPY pyproject.toml README.md LICENSE ./
COPY pipeline pipeline
# The build sees no tag, as .git is not copied: `--build-arg VERSION=1.0.0` says which it is.
ARG VERSION=
RUN SETUPTOOLS_SCM_PRETEND_VERSION_FOR_PHYGITALS_PIPELINE="$VERSION" \
    /opt/build/bin/pip wheel --no-cache-dir --no-build-isolation --no-deps --wheel-dir dist . \
 && /opt/phygitals/bin/pip install --no-cache-dir --no-deps dist/*.whl

FROM ${BASE}
COPY --from=build /opt/phygitals /opt/phygitals
# The project folder. It is the only folder that is written, so one volume here is enough.
WORKDIR /srv/phygitals
COPY pipeline/orchestration/workspace.yaml pipeline/orchestration/dagster.yaml ./
RUN useradd --uid 10001 --no-create-home phygitals \
 && mkdir data dagster_home \
 && mv dagster.yaml dagster_home/ \
 && chown -R phygitals:phygitals /srv/phygitals
ENV PATH=/opt/phygitals/bin:$PATH
ENV DAGSTER_HOME=/srv/phygitals/dagster_home
USER 10001
# Unhealthy is what a person has to look at; the output says why.
HEALTHCHECK --interval=5m --timeout=60s --start-period=5m CMD ["phygitals", "status"]
CMD ["dagster-daemon", "run", "--log-level", "warning"]
