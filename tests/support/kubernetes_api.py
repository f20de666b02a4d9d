"""A stand-in for a cluster: it takes the Jobs of Dagster's launcher over HTTP and runs their commands as processes.

It is no Kubernetes: it checks the Jobs against the client's models, and nothing schedules, isolates or limits them.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import kubernetes.client
import yaml
from dagster_k8s.models import k8s_model_from_dict, k8s_snake_case_dict

from pipeline.settings import PROJECT_ROOT


def checked(manifest: dict[str, Any], model: str) -> Any:
    """The manifest as an object of the client's model. Raises an exception for an unknown field or a wrong type."""
    found = getattr(kubernetes.client, model)
    return k8s_model_from_dict(found, k8s_snake_case_dict(found, manifest))


class Cluster:
    """The Jobs that were made. Their pods have the environment that the manifest gives them, and nothing else."""

    def __init__(self, secrets: dict[str, dict[str, str]], mounted: dict[str, str]) -> None:
        """`secrets` are variables by the Secret's name; `mounted` replaces variables, as a mount replaces a folder."""
        self.jobs: list[dict[str, Any]] = []
        self._secrets = secrets
        self._mounted = mounted
        self._pods: list[subprocess.Popen[bytes]] = []

    @contextlib.contextmanager
    def serving(self, kubeconfig: Path) -> Iterator[None]:
        """Serves during the block; `kubeconfig` leads to it."""
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                job["metadata"]["namespace"] = self.path.split("/namespaces/")[1].split("/")[0]
                cluster.start(job)
                self._answer(job)

            def do_GET(self) -> None:
                name = self.path.partition("?")[0].removesuffix("/status").rpartition("/")[2]
                found = [job for job in cluster.jobs if job["metadata"]["name"] == name]
                if found:
                    self._answer({**found[0], "status": {"active": 1}})
                else:
                    self._answer({"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}, 404)

            def _answer(self, content: dict[str, Any], status: int = 200) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """The Jobs are in the cluster's list."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        kubeconfig.write_text(yaml.safe_dump(_kubeconfig(f"http://127.0.0.1:{server.server_port}")))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
            for pod in self._pods:
                pod.kill()
                pod.wait()

    def start(self, job: dict[str, Any]) -> None:
        """Runs the command of the Job's only container."""
        checked(job, "V1Job")
        self.jobs.append(job)
        (container,) = job["spec"]["template"]["spec"]["containers"]
        environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        for source in container.get("envFrom", []):
            environment |= self._secrets[source["secretRef"]["name"]]
        environment |= {given["name"]: given["value"] for given in container["env"]}
        command = [*container.get("command", []), *container["args"]]
        self._pods.append(subprocess.Popen(command, env=environment | self._mounted, cwd=PROJECT_ROOT))


def _kubeconfig(url: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": url}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
