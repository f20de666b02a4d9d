# The image of the daemon, the webserver and the runs: `docker build .` in the clone.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /build
COPY requirements-distributed.lock .
RUN python3 -m venv /opt/phygitals \
 && /opt/phygitals/bin/pip install --no-cache-dir --require-hashes -r requirements-distributed.lock
COPY pyproject.toml README.md LICENSE ./
COPY pipeline pipeline
RUN /opt/phygitals/bin/pip install --no-cache-dir --no-build-isolation --no-deps .

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
